"""The Python in README and docs runs, block after block, and links lead somewhere."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run(text, name):
    """Execute the blocks of a page in one namespace, line numbers kept; the number of blocks."""
    names = {"__name__": "page"}
    blocks = list(BLOCK.finditer(text))
    for block in blocks:
        before = "\n" * text[: block.start(1)].count("\n")
        exec(compile(before + block[1], name, "exec"), names)
    return len(blocks)


@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(p.read_text())], ids=str)
def test_python_in_pages_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(page.read_text(), str(page)) > 0


def test_a_wrong_block_is_found():
    with pytest.raises(AssertionError):
        run("```python\nassert 1 > 2\n```\n", "page")
    assert run("no code\n```sh\nfalse\n```\n", "page") == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing, f"{page.name}: {missing}"


def test_the_tests_that_contributing_names_exist():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "CONTRIBUTING.md").read_text()))
    missing = [name for name in named if not (ROOT / "tests" / f"{name}.py").exists()]
    assert len(named) > 40 and not missing, missing


def test_every_session_of_nox_runs_in_a_workflow():
    """`.ci/run` is what tests and lint are there; the others are for a hand that asks for them."""
    by_hand = {"tests", "lint", "stubs", "bench"}
    source = (ROOT / "noxfile.py").read_text()
    sessions = set(re.findall(r"^@nox\.session.*\ndef (\w+)\(", source, re.MULTILINE)) - by_hand
    workflows = [p.read_text() for p in (ROOT / ".github" / "workflows").glob("*.yml")]
    if not workflows:
        pytest.skip("the workflows are not here")
    lists = re.findall(r"session: \[([^\]]+)\]", "\n".join(workflows))
    run = {name.strip() for names in lists for name in names.split(",")}
    assert sessions and sessions <= run, f"add to weekly.yml: {sorted(sessions - run)}"
    assert run <= sessions, f"no such session: {sorted(run - sessions)}"


def test_every_test_is_in_the_map():
    """CONTRIBUTING says which tests belong to a room; each file stands there once."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("## Tests by room")[2].partition("## Rules")[0]
    lines = [line.split("|") for line in table.splitlines() if line.startswith("| ")]
    named = re.findall(r"`(test_\w+)`", " ".join(line[2] for line in lines))
    for line in lines:  # "the test of the same name"
        if "of the same name" in line[2]:
            named += [f"test_{room}" for room in re.findall(r"`(\w+)`", line[1])]
    files = [path.stem for path in sorted((ROOT / "tests").glob("test_*.py"))]
    assert not set(files) - set(named), "write these into the map of CONTRIBUTING.md"
    assert sorted(named) == files
