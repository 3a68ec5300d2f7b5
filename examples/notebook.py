"""Run the notebook beside this file and write it as a page, first_steps.html.

Needs nbconvert and ipykernel. What models, histories and diagnoses show of themselves is in it.
"""

import pathlib

import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ExecutePreprocessor

source = pathlib.Path(__file__).with_name("first_steps.ipynb")
notebook = nbformat.read(source, as_version=4)
ExecutePreprocessor(timeout=300, kernel_name="python3").preprocess(notebook)
page, _ = HTMLExporter().from_notebook_node(notebook)
pathlib.Path("first_steps.html").write_text(page, encoding="utf-8")
print(f"first_steps.html: {len(page):,} characters, {page.count('<svg')} pictures")
assert page.count("<svg") >= 3
