"""Where an install of bpcore comes from: this one, a revision of the repository, an interpreter."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "against"  # git ignores it


@dataclasses.dataclass(frozen=True)
class Install:
    label: str
    python: str
    folder: Path | None  # where bpcore must come from, before all else; None: the interpreter's own

    def environment(self, threads: int) -> dict[str, str]:
        """That of this process, with the folder in front and no other install on the path."""
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        if self.folder is not None:
            env["PYTHONPATH"] = str(self.folder)
        return {**env, "BPCORE_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}


def present() -> Install:
    """What `import bpcore` finds in this process."""
    found = importlib.util.find_spec("bpcore")
    if found is None or found.origin is None:
        raise SystemExit("bpcore is not installed here; there is nothing to compare")
    return Install("this install", sys.executable, Path(found.origin).parents[1])


def resolve(ref: str) -> Install:
    """An install from the path of a Python interpreter, or from a revision that git knows."""
    if os.path.isfile(ref) and os.access(ref, os.X_OK):
        return Install(ref, os.path.abspath(ref), None)
    done = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(
            f"--against {ref}: got neither the path of a Python interpreter nor a revision of "
            "this repository; pass for example v0.1.0, HEAD~3 or /path/to/venv/bin/python"
        )
    commit = done.stdout.strip()
    return Install(f"{ref} ({commit[:10]})", sys.executable, built(commit))


def built(commit: str) -> Path:
    """The package as it was at a commit, built once and kept in build/against."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    target = CACHE / f"{commit[:16]}-{tag}"
    if (target / "bpcore" / "__init__.py").exists():
        return target
    print(f"building {commit[:10]} into {target.relative_to(ROOT)} ...", file=sys.stderr)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        sources, fresh = Path(folder, "sources"), Path(folder, "package")
        sources.mkdir()
        archive = subprocess.run(
            ["git", "archive", commit], cwd=ROOT, capture_output=True, check=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", str(sources)], input=archive, check=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        here = all(map(importlib.util.find_spec, ("scikit_build_core", "pybind11")))
        command += [str(fresh), *["--no-build-isolation"] * here, str(sources)]
        subprocess.run(command, check=True)
        fresh.rename(target)
    return target
