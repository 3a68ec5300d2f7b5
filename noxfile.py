"""Developer sessions: ``nox`` runs tests and lint, ``nox -s <name>`` one of the others."""

from __future__ import annotations

import os
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
    sources = [str(p) for p in sorted(Path("cpp").rglob("*")) if p.suffix in (".h", ".cpp")]
    session.run("clang-format", "--dry-run", *sources)


def _sanitized(
    session: nox.Session, sanitizers: str, runtimes: list[str], env: dict[str, str]
) -> None:
    """Build with sanitizers and run the tests through an uninstrumented Python."""
    session.install(*BUILD, "numpy", "tqdm", "safetensors", "pytest", "hypothesis")
    session.install(
        "--no-build-isolation",
        "--no-deps",
        f"-Ccmake.define.BP_SANITIZE={sanitizers}",
        "-Ccmake.build-type=RelWithDebInfo",
        ".",
    )
    compiler = os.environ.get("CXX", "c++")
    found = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in runtimes
    ]
    # libstdc++ too: else the first C++ exception finds no __cxa_throw to intercept.
    session.run("pytest", *UNCAPTURED, *session.posargs, env={"LD_PRELOAD": " ".join(found), **env})


@nox.session
def asan(session: nox.Session) -> None:
    """Memory errors. Leaks of the interpreter itself are not reported."""
    options = {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1"}
    _sanitized(session, "address", ["libasan.so", "libstdc++.so"], options)


@nox.session
def ubsan(session: nox.Session) -> None:
    """Undefined behaviour; the first one ends the run."""
    options = {"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
    _sanitized(session, "undefined", ["libubsan.so", "libstdc++.so"], options)


@nox.session
def tsan(session: nox.Session) -> None:
    """Data races, in the tests that use threads. GCC's OpenMP barriers give false reports."""
    options = {"TSAN_OPTIONS": "ignore_noninstrumented_modules=1", "OMP_NUM_THREADS": "2"}
    _sanitized(session, "thread", ["libtsan.so", "libstdc++.so"], options)


@nox.session
def stubs(session: nox.Session) -> None:
    """Write the type stubs of the compiled module anew; a test compares them."""
    session.install(".", "pybind11-stubgen>=2.5", "ruff")
    session.run("pybind11-stubgen", "bpcore._core", "-o", "python", "--ignore-all-errors")
    session.run("ruff", "format", "python/bpcore/_core.pyi")


@nox.session
def bench(session: nox.Session) -> None:
    """The table of speeds against NumPy, scikit-learn, PyTorch and JAX."""
    session.install(".[bench]")
    session.run("python", "-m", "bench", *session.posargs)
