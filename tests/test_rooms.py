"""The arrows between rooms, by reading the sources: what may include or import what."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest

from .helpers import rooms, support

CPP, PYTHON = support.ROOT / "cpp", support.ROOT / "python" / "bpcore"
ROOMS = ("base", "simd", "kernels", "ops", "plan", "train", "solve", "bind")
LIMIT = 500
LIMITS = {"vec.h": 700}  # the vector wrappers
WIDTH = 120


def sources(*suffixes):
    return [p for p in sorted(CPP.rglob("*")) if p.suffix in suffixes and p.parent.name in ROOMS]


def without_comments(path):
    return rooms.without_comments(path.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def needs_sources():
    if not CPP.is_dir():
        pytest.skip("the C++ sources are not here")


def test_includes_go_one_way():
    """base <- simd <- kernels <- ops <- plan <- train <- solve <- bind."""
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
        if path.suffix != ".py":  # those are ruff's
            wide = [k for k, line in enumerate(lines, 1) if len(line) > WIDTH]
            assert not wide, f"{path.name}: lines {wide} are longer than {WIDTH}"
        if path.suffix == ".py" and len(lines) < 2:
            continue
        # a .cpp may begin with its own header, which says what both are
        own = (f'#include "{path.parent.name}/{path.stem}.h"',) if path.suffix == ".cpp" else ()
        openings = ("//", '"""', "#!", "/*", 'r"""', *own)
        assert lines[0].startswith(openings), f"{path.name}: no opening comment"


def test_python_imports_go_down():
    """All files, and all imports: at the top, in functions, for type checkers."""
    sources = rooms.modules(PYTHON)
    assert len(sources) > 90
    findings = rooms.upward(sources)
    assert not findings, "\n".join(findings)


UPWARD = {
    "at the top": "from ..model.model import Model\n",
    "in a function": "def f():\n    from ..model import model\n    return model\n",
    "the second name of a list": "from .. import losses, model\n",
    "for type checkers": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
    "    from ..model.model import Model\n",
    "absolute": "import bpcore.model.model\n",
    "absolute, a name": "from bpcore.model import model\n",
    "the package itself": "import bpcore as bp\n",
    "a room beside": "from ..optimizers import SGD\n",
}


@pytest.mark.parametrize("kind", UPWARD)
def test_an_upward_import_is_found(kind):
    sources = dict.fromkeys(("", "model", "model.model", "losses", "layers", "optimizers"), "")
    assert rooms.upward({**sources, "layers.new": "from ..losses import Loss\n"}) == []
    found = rooms.upward({**sources, "layers.new": UPWARD[kind]})
    assert len(found) == 1 and found[0].startswith("layers.new, line ")
    assert ("optimizers" if "SGD" in UPWARD[kind] else "model" if "model" in UPWARD[kind]
            else "bpcore") in found[0]  # fmt: skip
    assert rooms.upward({"attic": ""}) == ["attic: is in no room of the order"]


def test_no_circles():
    """Neither of files nor of rooms, in Python and in C++."""
    python = rooms.arrows(rooms.modules(PYTHON))
    cpp = rooms.includes(CPP, ROOMS)
    for edges, separator in ((python, "."), (cpp, "/")):
        assert sum(map(len, edges.values())) > 150
        assert rooms.circle(edges) is None
        assert rooms.circle(rooms.by_room(edges, separator)) is None


def test_a_circle_is_found():
    one = "def f():\n    from . import two\n"
    assert rooms.circle(rooms.arrows({"a": "", "a.one": one, "a.two": "from .one import f\n"}))
    assert rooms.circle(rooms.arrows({"a": "", "a.one": one, "a.two": ""})) is None
    between = {"a/x.h": {"b/x.h"}, "b/x.h": set(), "b/y.h": {"a/y.h"}, "a/y.h": set()}
    assert rooms.circle(between) is None
    assert rooms.circle(rooms.by_room(between, "/")) == ["a", "b", "a"]


# ---- the contract of operations (docs/add-an-op.md) ----------------------------------------------


def test_nobody_asks_an_operation_for_its_name():
    names = rooms.operations((CPP / "ops" / "table.cpp").read_text())
    assert {"dense", "softmax", "reshape", "dot"} <= names
    found = []
    for path in sources(".h", ".cpp"):
        if path.parent.name != "ops":
            found += [(path, *at) for at in rooms.cpp_questions(path.read_text(), names)]
    for path in PYTHON.rglob("*.py"):
        found += [(path, *at) for at in rooms.questions(path.read_text(), names)]
    assert not found


@pytest.mark.parametrize("source", [
    'f = op == "dense"', 'if low.nodes[i][0] in ("add", "scale"): pass', 'x = "dot" != node[0]',
    'while step.op == "reshape": pass',
])  # fmt: skip
def test_a_question_in_python_is_found(source):
    assert rooms.questions("a = 1\n" + source, {"dense", "add", "dot", "reshape"})[0][0] == 2
    for other in ('kind == "dense"', 'function == "dot"', 'op == "unknown"'):
        assert not rooms.questions(other, {"dense", "add", "dot", "reshape"})


@pytest.mark.parametrize("source", [
    'if (node.op == "anything") return;', 'return spec->op != "dense";', 'if ("dot" == name) {',
    'if (name == "dot") {',
])  # fmt: skip
def test_a_question_in_cpp_is_found(source):
    assert rooms.cpp_questions("// a\n" + source, {"dense", "dot"}) == [(2, source)]
    for other in ('kind == "dot"', 'name == "unknown"', '// op == "dot"', 'spec.op = "dot"'):
        assert not rooms.cpp_questions(other, {"dense", "dot"})


def test_an_operation_is_a_small_class():
    """At most 16 functions may be overridden; a node has no field that one operation needs."""
    contract = rooms.declared((CPP / "ops" / "op.h").read_text(), "Op")
    assert 6 <= len(re.findall(r"\bvirtual (?!~)", contract)) <= 16
    node = rooms.declared((CPP / "ops" / "node.h").read_text(), "NodeSpec")
    fields = re.sub(r"\s+", " ", node).strip().split(";")[:-1]
    assert [re.sub(r" = .*", "", f).strip() for f in fields] == [
        "std::string op, name", "std::vector<int> inputs, params",
        "std::map<std::string, Attribute<T>> attributes", "Compute compute",
    ]  # fmt: skip


def test_the_contract_knows_no_relay():
    """It is a matter of two threads and one product: ops, frames and gathering do not see it."""
    for path in sources(".h", ".cpp"):
        if path.parent.name != "train":
            assert "relay" not in without_comments(path).lower(), path


def test_nobody_reaches_into_a_model():
    """What a room needs of a model is handed to it."""
    sources = rooms.modules(PYTHON)
    assert {"_engine", "_compilation", "_nodes", "_busy"} <= rooms.private_names(sources)
    findings = rooms.reach_ins(sources)
    assert not findings, "\n".join(findings)


def test_a_hand_in_a_model_is_found():
    model = "class Model:\n    _engine: int\n    def _busy(self): self._draws = super()._last\n"
    assert rooms.private_names({"model.model": model}) == {"_engine", "_busy", "_draws", "_last"}
    for planted in ("model._engine", "self.model._draws", "f(twin()._busy('fit'))"):
        found = rooms.reach_ins({"model.model": model, "train.loop": f"x = {planted}\n"})
        assert len(found) == 1 and found[0].startswith("train.loop, line 1: ")
    own = "class Loop:\n    def f(self): return self._engine, cls._busy\n"
    assert not rooms.reach_ins({"model.model": model, "train.loop": own, "model.b": "m._engine"})


def existing():
    """The rooms of the Python side that are there, by floor."""
    there = {path.stem for path in PYTHON.iterdir() if path.suffix in ("", ".py", ".pyi")}
    return [[room for room in floor if room in there] for floor in rooms.FLOORS]


def test_docs_tell_the_order_of_the_rooms():
    """Of Python in the guide to the house and in the architecture, of C++ wherever it stands."""
    read = {name: (support.ROOT / name).read_text(encoding="utf-8") for name in
            ("CONTRIBUTING.md", "docs/architecture.md", "docs/house.md")}  # fmt: skip
    assert " <- ".join(ROOMS) in read["CONTRIBUTING.md"]
    assert " ◄── ".join(ROOMS) in read["docs/architecture.md"]
    house = read["docs/house.md"].partition("## The way")[0]
    assert re.findall(r"^\| `cpp/(\w+)/` \|", house, re.M) == list(ROOMS)
    lists = {"house": re.findall(r"^\| (`.*?) \|", house, re.M)[len(ROOMS) :]}
    block = re.search(r"^```text\n(_core.*?)^```", read["docs/architecture.md"], re.M | re.S)
    lists["architecture"] = block.group(1).splitlines()
    for name, lines in lists.items():
        words = [set(re.findall(r"\w+", re.split(r" {6,}", line)[0])) for line in lines]
        words = [w for line, w in zip(lines, words, strict=True) if not line.startswith(" ")]
        place = {room: i for i, found in enumerate(words) for room in found}
        for below, floor in zip(existing(), existing()[1:], strict=False):
            assert set(floor) <= place.keys(), f"{name} lacks one of {floor}"
            for room in floor:
                assert all(place[other] <= place[room] for other in below), f"{name}: {room}"


def texts():
    """Everything that may name a path: docs, and comments of sources."""
    for folder in ("docs", "python", "cpp", "tests", "bench", "examples", ".github"):
        for path in sorted((support.ROOT / folder).rglob("*")):
            if path.suffix in (".md", ".py", ".cpp", ".h", ".yml"):
                yield path
    yield from (support.ROOT / name for name in ("README.md", "CONTRIBUTING.md", "noxfile.py"))


def test_paths_in_backticks_exist():
    findings = [
        f"{own.relative_to(support.ROOT)}, line {line}: {path}"
        for own in texts()
        for line, path in rooms.paths(own.read_text(encoding="utf-8"))
        if rooms.lost(support.ROOT, own, path)
    ]
    assert not findings, "\n".join(findings)


def test_a_lost_path_is_found():
    own = support.ROOT / "docs" / "house.md"
    named = ("python/bpcore/layers/base.py", "cpp/ops/x.cpp", "layer/weight", "cpp/lost.h")
    quoted = "a `{}`, `{}`, `{}`,\nand `{}`".format(*named)
    found = rooms.paths(quoted)
    assert [line for line, _ in found] == [1, 1, 1, 2]
    assert [path for _, path in found if rooms.lost(support.ROOT, own, path)] == ["cpp/lost.h"]


def test_importing_costs_no_optional_package():
    code = """
import sys
import numpy
before = set(sys.modules)
import bpcore
heavy = {"tqdm", "safetensors", "matplotlib", "sklearn", "torch", "pandas", "scipy", "onnx"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
slow = {"hashlib", "sysconfig"}  # milliseconds each, for what most programs never do
assert not slow & set(sys.modules) - before, slow & set(sys.modules)
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
