"""The arrows between rooms, by reading the sources: what may include or import what."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest

from .helpers import support

CPP, PYTHON = support.ROOT / "cpp", support.ROOT / "python" / "bpcore"
ROOMS = ("base", "simd", "kernels", "ops", "plan", "train", "bind")
LIMIT = 500
LIMITS = {"vec.h": 700}  # the vector wrappers


def sources(*suffixes):
    return [p for p in sorted(CPP.rglob("*")) if p.suffix in suffixes and p.parent.name in ROOMS]


def without_comments(path):
    text = path.read_text(encoding="utf-8")
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)


@pytest.fixture(autouse=True)
def needs_sources():
    if not CPP.is_dir():
        pytest.skip("the C++ sources are not here")


def test_includes_go_one_way():
    """base <- simd <- kernels <- ops <- plan <- train <- bind."""
    for path in sources(".h", ".cpp"):
        own = ROOMS.index(path.relative_to(CPP).parts[0])
        for include in re.findall(r'#include "([^"]+)"', without_comments(path)):
            room = include.split("/")[0]
            if room in ROOMS:
                assert ROOMS.index(room) <= own, f"{path.name} of {ROOMS[own]} includes {include}"
            else:
                assert (path.parent / include).exists(), f"{path.name}: {include} is in no room"


def test_python_is_named_only_in_bind():
    for path in sources(".h", ".cpp"):
        if path.relative_to(CPP).parts[0] != "bind":
            text = without_comments(path)
            assert "pybind11" not in text and "Python.h" not in text, path


def test_intrinsics_only_in_simd():
    pattern = re.compile(r"\b_mm\d*_\w+|\b__m(128|256|512)|immintrin|arm_neon|\bv\w+q_f(32|64)\b")
    for path in sources(".h", ".cpp"):
        if path.relative_to(CPP).parts[0] not in ("simd", "base"):
            assert not pattern.search(without_comments(path)), path
    # the control word of the floating-point unit is the one thing base/ needs
    for path in sources(".h", ".cpp"):
        if path.relative_to(CPP).parts[0] == "base":
            found = {m.group() for m in pattern.finditer(without_comments(path))}
            assert found <= {"_mm_getcsr", "_mm_setcsr", "_mm_pause", "immintrin"}, path


def test_openmp_only_in_threads():
    for path in sources(".h", ".cpp"):
        if path.name not in ("threads.cpp", "threads.h"):
            text = without_comments(path)
            assert "#pragma omp" not in text and "omp.h" not in text and "omp_" not in text, path


def test_tier_files_use_no_standard_library():
    """std:: templates in a file of a higher tier are weak symbols, which the linker may use."""
    allowed = {"std::int64_t", "std::int32_t", "std::uint64_t", "std::uint32_t", "std::size_t",
               "std::int8_t", "std::uint8_t", "std::uint16_t", "std::int16_t", "std::uintptr_t",
               "std::memcpy", "std::memset", "std::memmove", "std::nullptr_t",
               "std::ptrdiff_t"}  # fmt: skip
    files = [*CPP.glob("kernels/*.isa.cpp"), *CPP.glob("simd/*.h"), CPP / "kernels" / "table.h"]
    for path in files:
        found = set(re.findall(r"std::\w+", without_comments(path)))
        assert found <= allowed, f"{path.name}: {sorted(found - allowed)}"


def test_files_are_of_a_readable_size():
    for path in [*sources(".h", ".cpp"), *PYTHON.rglob("*.py"), *support.ROOT.glob("tests/**/*.py"),
                 *support.ROOT.glob("bench/**/*.py")]:  # fmt: skip
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= LIMITS.get(path.name, LIMIT), f"{path.name} has {len(lines)} lines"
        if path.suffix == ".py" and len(lines) < 2:
            continue
        # a .cpp may begin with its own header, which says what both are
        own = (f'#include "{path.parent.name}/{path.stem}.h"',) if path.suffix == ".cpp" else ()
        openings = ("//", '"""', "#!", "/*", 'r"""', *own)
        assert lines[0].startswith(openings), f"{path.name}: no opening comment"


# _core <- checks <- layers, losses, optimizers, initializers <- model <- fit <- estimators, cli
LEVEL = {"errors": 0, "_version": 0, "checks": 1, "arguments": 1, "layers": 3, "losses": 3,
         "optimizers": 3, "initializers": 3, "activations": 3, "schedules": 3,
         "regularizers": 3, "constraints": 3, "groups": 3, "model": 4, "sequential": 4, "fit": 5,
         "cli": 6, "sklearn": 6}  # fmt: skip


def test_python_imports_go_one_way():
    """At module level; an import inside a function runs later and may look up."""
    for path in PYTHON.rglob("*.py"):
        parts = path.relative_to(PYTHON).with_suffix("").parts
        own = LEVEL.get(parts[0])
        if own is None:
            continue
        text = re.sub(r"if TYPE_CHECKING:\n(?:    .*\n|\n)+", "", path.read_text(encoding="utf-8"))
        for module in re.findall(r"^from \.+(\w+)[\w.]* import|^from \.+ import (\w+)", text, re.M):
            other = LEVEL.get(module[0] or module[1])
            assert other is None or other <= own, f"{'/'.join(parts)} imports {module}"


def test_importing_costs_no_optional_package():
    code = """
import sys
import bpcore
heavy = {"tqdm", "safetensors", "matplotlib", "sklearn", "torch", "pandas", "scipy"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    support.run_python(code)


def tier_objects():
    """Objects of the tiers, where a build directory is at hand (BPCORE_BUILD_DIR or build/)."""
    import os

    roots = [os.environ.get("BPCORE_BUILD_DIR", ""), str(support.ROOT / "build")]
    for root in filter(None, roots):
        yield from pathlib.Path(root).rglob("*.isa.cpp.o")


def test_no_weak_symbols_outside_a_tiers_namespace():
    objects = list(tier_objects())
    if not objects or not shutil.which("nm"):
        pytest.skip("no build directory; set BPCORE_BUILD_DIR to one")
    for path in objects:
        match = re.search(r"bp_(baseline|v3|v4|neon)\.dir", str(path))
        if not match or match.group(1) == "baseline":
            continue
        done = subprocess.run(["nm", "-C", str(path)], capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            kind, _, name = line[17:].partition(" ")
            if kind in "VWu":
                assert f"bp::{match.group(1)}::" in name, f"{path.name}: weak symbol {name}"
