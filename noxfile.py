"""Developer sessions: ``nox`` runs tests and lint, ``nox -s <name>`` one of the others."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint"]
nox.needs_version = ">=2024.4"

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
BUILD = ["scikit-build-core>=0.10", "pybind11>=3", "cmake", "ninja"]
# pytest must not capture: a sanitizer's report of a dying process would be lost.
UNCAPTURED = ["-s", "-p", "no:cacheprovider"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole test suite."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, mypy and clang-format."""
    session.install(".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run(".ci/format", "--check", external=True)


def _runtime(compiler: str, name: str) -> str:
    """Path of a library that belongs to a compiler."""
    command = [compiler, f"-print-file-name={name}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _clang() -> str:
    """Clang: GCC needs many minutes for an instrumented kernel, and its OpenMP hides from TSan."""
    names = ["clang++", *(f"clang++-{version}" for version in range(21, 13, -1))]
    found = filter(None, map(shutil.which, [os.environ.get("CXX", ""), *names]))
    return next((path for path in found if "clang" in path), "clang++")


def _build_sanitized(session: nox.Session, sanitizers: str) -> None:
    """Build with sanitizers, for an uninstrumented Python."""
    session.install(*BUILD, "numpy", "tqdm", "safetensors", "pytest", "hypothesis")
    session.install(
        "--no-build-isolation",
        "--no-deps",
        f"-Ccmake.define.BP_SANITIZE={sanitizers}",
        "-Ccmake.build-type=RelWithDebInfo",
        ".",
        env={"CXX": _clang()},
    )


def _preload(sanitizers: str, runtime: str) -> dict[str, str]:
    """The environment that an uninstrumented Python needs."""
    # libstdc++ too: else the first C++ exception finds no __cxa_throw to intercept.
    preload = f"{runtime} {_runtime('g++', 'libstdc++.so')}"
    # tests/conftest.py knows what cannot work under a sanitizer. malloc: Python's own arenas would
    # hide what runs past the end of one of its objects.
    return {"LD_PRELOAD": preload, "BPCORE_SANITIZER": sanitizers, "PYTHONMALLOC": "malloc"}


def _sanitized(
    session: nox.Session, sanitizers: str, runtime: str, env: dict[str, str], *tests: str
) -> None:
    """Build with sanitizers and run the tests."""
    _build_sanitized(session, sanitizers)
    env = {**_preload(sanitizers, runtime), **env}
    session.run("pytest", *UNCAPTURED, *(session.posargs or tests), env=env)


THREADED = [f"tests/test_{name}.py" for name in ("fit", "determinism", "corners")]
UBSAN_OPTIONS = "halt_on_error=1:print_stacktrace=1"
ASAN = {
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": UBSAN_OPTIONS,
}


def _asan_runtime() -> str:
    return _runtime(_clang(), f"libclang_rt.asan-{platform.machine()}.so")


@nox.session
def asan(session: nox.Session) -> None:
    """Memory errors and undefined behaviour. Leaks of the interpreter itself are not reported."""
    _sanitized(session, "address,undefined", _asan_runtime(), ASAN)


@nox.session
def ubsan(session: nox.Session) -> None:
    """Undefined behaviour alone; the first one ends the run."""
    runtime = _runtime(_clang(), f"libclang_rt.ubsan_standalone-{platform.machine()}.so")
    _sanitized(session, "undefined", runtime, {"UBSAN_OPTIONS": UBSAN_OPTIONS})


@nox.session
def tsan(session: nox.Session) -> None:
    """Data races. Clang's OpenMP tells its barriers to the sanitizer (archer), GCC's does not."""
    # GCC's runtime serves Clang's code, and starts under Python, where Clang 14's own does not.
    runtime = _runtime("g++", "libtsan.so")
    # the directory of Clang's own libraries is not always on the search path
    archer = Path(_clang()).resolve().parent.parent / "lib" / "libarcher.so"
    options = {
        "TSAN_OPTIONS": "ignore_noninstrumented_modules=1:history_size=5:die_after_fork=0",
        "OMP_TOOL_LIBRARIES": str(archer),
        "BPCORE_NUM_THREADS": "3",
    }
    _sanitized(session, "thread", runtime, options, *THREADED)
    if session.posargs:
        return
    options["TSAN_OPTIONS"] += f":suppressions={Path('tests/tsan.supp').resolve()}"
    env = {**_preload("thread", runtime), **options}
    session.run(
        "pytest", *UNCAPTURED, "tests/test_races.py", "tests/test_changing_data.py", env=env
    )


@nox.session
def crash(session: nox.Session) -> None:
    """Training killed 200 times and resumed; every system call of a save failing (needs strace)."""
    session.install(".[test]")
    session.run("python", "-m", "tests.crash.kill", *(session.posargs or ["200"]))
    session.run("python", "-m", "tests.crash.inject")


@nox.session
def chaos(session: nox.Session) -> None:
    """5,000 interrupts of all calls, 2,000 forks beside working threads, 200 interpreter exits."""
    session.install(".[test]")
    session.run("python", "-m", "tests.crash.interrupts", "5000")
    session.run("python", "-m", "tests.crash.interrupts", "every", "97")
    for threads, count in (("1", "1000"), ("2", "1000")):
        env = {"BPCORE_NUM_THREADS": threads}
        session.run("python", "-m", "tests.crash.forks", count, env=env)
    session.run("python", "-m", "tests.crash.exits", "200")


@nox.session
def fuzz(session: nox.Session) -> None:
    """A million mutated files through the loader, under the address sanitizer."""
    _build_sanitized(session, "address,undefined")
    env = {"BPCORE_NUM_THREADS": "1", **_preload("address,undefined", _asan_runtime()), **ASAN}
    count = session.posargs or ["1000000"]
    session.run("python", "-m", "tests.fuzz.fuzz_files", *count, env=env)


@nox.session
def fuzz_checkpoints(session: nox.Session) -> None:
    """20,000 mutated checkpoints through the fit that wrote them, under the sanitizers."""
    _build_sanitized(session, "address,undefined")
    env = {"BPCORE_NUM_THREADS": "1", **_preload("address,undefined", _asan_runtime()), **ASAN}
    count = session.posargs or ["20000"]
    session.run("python", "-m", "tests.fuzz.fuzz_checkpoints", *count, env=env)


@nox.session
def differential(session: nox.Session) -> None:
    """2,000 random models trained by bpcore and by PyTorch in float64; differences explained."""
    session.install(".[test]", "torch>=2.2")
    session.run("python", "-m", "tests.fuzz.differential", *(session.posargs or ["2000"]))


@nox.session
def judges(session: nox.Session) -> None:
    """Metrics, losses, derivatives, steps by hand against scikit-learn and PyTorch; what the
    solvers reach."""
    session.install(".[test,sklearn]", "torch>=2.2")
    names = ("metrics", "losses", "derivatives", "loop", "solvers")
    files = [f"tests/judges/{name}.py" for name in names]
    session.run("pytest", *(session.posargs or files))


@nox.session
def planted(session: nox.Session) -> None:
    """Broken operations, in a build of their own: the checks of all operations find each."""
    session.install(".[test]", "-Ccmake.define.BP_PLANTED=ON")
    session.run("pytest", *(session.posargs or ["tests/planted/checks.py"]))


@nox.session
def bits(session: nox.Session) -> None:
    """5,000 random trainings: one result for all threads, tiers, layouts, splits and resumes."""
    session.install(".[test]")
    session.run("python", "-m", "tests.fuzz.bits", *(session.posargs or ["5000"]))


@nox.session
def sklearn(session: nox.Session) -> None:
    """scikit-learn's own tests of its MLP, run against bpcore's estimators."""
    session.install(".[test]")
    session.run("pytest", "-p", "sklearn.conftest", "tests/judges/sklearn_mlp.py", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """The nine examples of everyday use, as they are written."""
    session.install(".[test]", "polars", "optuna", "nbconvert", "ipykernel")
    session.run("pytest", "tests/judges/examples_of_doors.py", *session.posargs)


@nox.session
def sequences(session: nox.Session) -> None:
    """Tasks that recurrent networks solve, with PyTorch beside: some ten minutes on two cores."""
    session.install(".[test]", "torch")
    session.run("python", "-m", "tests.judges.sequence_tasks", *session.posargs)


@nox.session
def credit(session: nox.Session) -> None:
    """Rules of credit assignment on MNIST, which is downloaded: some minutes on two cores."""
    session.install(".")
    session.run("python", "-m", "tests.judges.credit", *session.posargs)


@nox.session
def lenet(session: nox.Session) -> None:
    """LeNet-5 on MNIST, three times, from the folder in BPCORE_DATA: some minutes on two cores."""
    session.install(".[test]", "torch")
    session.run("python", "-m", "tests.judges.lenet", *session.posargs)


@nox.session
def tiles(session: nox.Session) -> None:
    """What is asked of products in bfloat16, on tiles of AMX, emulated where the CPU has none."""
    session.install(".[test]")
    names = ("bfloat16", "chunks", "relay", "partition", "matmul", "round_trip")
    files = [f"tests/test_{name}.py" for name in names]
    session.run("pytest", *files, *session.posargs, env={"BPCORE_TEST_TILES": "1"})


@nox.session
def bfloat16(session: nox.Session) -> None:
    """MNIST in bfloat16 and in float32, by this CPU's instruction: two minutes on two cores."""
    session.install(".[test]")
    session.run("python", "-m", "tests.judges.bfloat16", *session.posargs)


@nox.session
def million(session: nox.Session) -> None:
    """A million rows through the command line, in bounded memory (Linux)."""
    session.install(".[test]")
    session.run("python", "-m", "tests.judges.million", *session.posargs)


@nox.session
def neighbours(session: nox.Session) -> None:
    """Beside torch, scikit-learn and lightgbm: every order of import; children of all kinds."""
    session.install(".[test]", "torch>=2.2", "lightgbm")
    session.run("python", "-m", "tests.judges.neighbours", *session.posargs)


@nox.session
def onnx(session: nox.Session) -> None:
    """Exported models in ONNX's checker and in ONNX Runtime, and 2,000 random ones."""
    session.install(".[test,onnx]", "onnxruntime>=1.20")
    session.run("pytest", "tests/test_onnx.py", "tests/test_export_safety.py")
    session.run("python", "-m", "tests.fuzz.exports", *(session.posargs or ["500"]))


@nox.session
def c_export(session: nox.Session) -> None:
    """Networks in C under every compiler that is here, with its sanitizers and without."""
    session.install(".[test]")
    session.run("pytest", "tests/test_export_c.py")
    session.run("python", "-m", "tests.helpers.compiled", *(session.posargs or ["30"]))


@nox.session
def stubs(session: nox.Session) -> None:
    """Write the type stubs of the compiled module anew; a test compares them."""
    session.install(".", "pybind11-stubgen>=2.5", "ruff")
    session.run("pybind11-stubgen", "bpcore._core", "-o", "python", "--ignore-all-errors")
    session.run("ruff", "check", "--fix", "python/bpcore/_core.pyi")
    session.run("ruff", "format", "python/bpcore/_core.pyi")


@nox.session
def bench(session: nox.Session) -> None:
    """The tables of speeds against other libraries; `-- --publish` writes docs/benchmarks.md."""
    session.install(".[bench]")
    session.run("python", "-m", "bench", *session.posargs)
