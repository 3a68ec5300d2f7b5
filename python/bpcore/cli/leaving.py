"""The command ``export``: a model's file as one for other programs."""

from __future__ import annotations

import argparse
from typing import Any

from . import plain, tables, words

_EXPORT = """example:
  bpcore export model.safetensors --onnx net.onnx
  bpcore export model.safetensors --c net.c
"""


def add(commands: Any) -> None:
    """Add the parser of the command; each format is an option of the one group."""
    raw = argparse.RawDescriptionHelpFormatter
    export = commands.add_parser(
        "export", help="write a model for other programs", epilog=_EXPORT, formatter_class=raw
    )
    export.add_argument("model", type=words.path)
    formats = export.add_mutually_exclusive_group(required=True)
    formats.add_argument(
        "--c",
        type=words.path,
        metavar="net.c",
        help="as C99, with net.h beside it; names in C begin with that of the file",
    )
    formats.add_argument("--onnx", type=words.path, metavar="net.onnx", help="as an ONNX model")
    export.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Write the model's network in the one format that was asked for."""
    tables.check_outputs(arguments, "--c", "--onnx")
    target = arguments.c or arguments.onnx
    header = target.with_suffix(".h")
    known = arguments.c is not None and header.exists() and arguments.model.exists()
    if known and header.samefile(arguments.model):
        raise ValueError(f"--c: {header} is the model itself, beside which its header would be")
    model = plain.load(arguments.model)
    if arguments.c:
        model.to_c(arguments.c, name=arguments.c.stem)
    else:
        model.to_onnx(arguments.onnx)
    print(f"model exported to {target.resolve()}")
    return 0
