"""The committed type stubs of the compiled module name what the module has: no more, no less."""

from __future__ import annotations

import ast
from pathlib import Path

import bpcore
from bpcore import _core

STUBS = Path(bpcore.__file__).with_name("_core.pyi")


def declared(text: str) -> dict[str, set[str]]:
    """Public functions and classes of a stub file; for a class its public members."""
    found: dict[str, set[str]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            members = node.body if isinstance(node, ast.ClassDef) else []
            names = {m.name for m in members if isinstance(m, ast.FunctionDef)}
            found[node.name] = {name for name in names if not name.startswith("_")}
    return found


def present() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name in dir(_core):
        if name.startswith("_"):
            continue
        value = getattr(_core, name)
        own = vars(value) if isinstance(value, type) else {}
        found[name] = {member for member in own if not member.startswith("_")}
    return found


def test_stubs_are_up_to_date():
    assert declared(STUBS.read_text()) == present()


def test_the_comparison_sees_a_missing_method():
    text = STUBS.read_text().replace("def describe(", "def describes(", 1)
    assert declared(text) != present()
