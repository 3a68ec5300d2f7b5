"""Every example in a docstring runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import pkgutil

import pytest

import bpcore as bp


def modules():
    yield "bpcore"
    for info in pkgutil.walk_packages(bp.__path__, "bpcore."):
        name = info.name.rsplit(".", 1)[-1]
        if name not in ("__main__", "_core"):
            yield info.name


@pytest.mark.parametrize("name", list(modules()))
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(module, optionflags=flags, extraglobs={"bp": bp})
    assert result.failed == 0
    assert os.getcwd() == str(tmp_path)


PUBLIC = ("layers", "losses", "metrics", "optimizers", "schedules", "initializers", "callbacks",
          "regularizers", "constraints")  # fmt: skip


@pytest.mark.parametrize("room", PUBLIC)
def test_public_classes_are_documented(room):
    module = getattr(bp, room)
    bare = [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__.startswith("bpcore")
        and not name.startswith("_") and not (value.__doc__ or "").strip()
    ]  # fmt: skip
    assert not bare, f"no docstring: {bare}"
