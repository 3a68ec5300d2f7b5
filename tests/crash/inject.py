"""Real failures of real system calls: `python -m tests.crash.inject` (needs strace).

A save, or the taking of a lock, runs under strace, which lets one system call fail, or kills the
process there, and so for each call that touches the folder and each fault. Afterwards a new process
must find the old or the new file, whole, and save or lock again. (Short writes come from Python and
RLIMIT_FSIZE in test_atomic.py.)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile

from bpcore.files import container, lock
from tests.helpers import files

FAULTS = ("error=ENOSPC", "error=EIO", "error=EDQUOT", "error=EINTR", "signal=SIGKILL")
CALLS = (
    "openat,write,fsync,close,rename,renameat,fchmod,getdents64,newfstatat,unlink,lstat,stat,"
    "readlink,flock,fstat,pwrite64,pread64,ftruncate"
)
SAVE = """
import sys
from tests.helpers import files
model = files.small_model(seed=1)
try:
    model.save(sys.argv[1])
except OSError as error:
    print("error", error.errno)
"""
LOCK = """
import sys
from bpcore.files import lock
try:
    with lock.take(sys.argv[1]) as held:
        lock.remove(held)
except OSError as error:
    print("error", error.errno)
"""
LINE = re.compile(r"^\d+ +(\w+)\(")


def traced(target, inject=None, script=SAVE):
    """Run the script; (return code, what it printed, [(call, its number among its kind, line)])."""
    trace = target + ".trace"
    command = ["strace", "-f", "-y", "-o", trace, "-e", f"trace={CALLS}"]
    if inject:
        command += ["-e", f"inject={inject}"]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [*command, sys.executable, "-c", script, target],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    counts, found = {}, []
    with open(trace) as stream:
        for line in stream:
            match = LINE.match(line)
            if match:
                counts[match[1]] = counts.get(match[1], 0) + 1
                found.append((match[1], counts[match[1]], line))
    os.unlink(trace)
    return done.returncode, done.stdout.strip(), found


def of_the_save(calls, folder):
    return [
        (name, number)
        for name, number, line in calls
        if folder + "/" in line or f"<{folder}>" in line or f'"{folder}"' in line
    ]


def check(folder, target, old, new, killed):
    """Old or new and nothing else, and the next save works."""
    with open(target, "rb") if os.path.exists(target) else open(os.devnull, "rb") as stream:
        content = stream.read() or None
    assert content in (old, new), "a third state"
    names = [n for n in os.listdir(folder) if n != "m"]
    assert killed or not names, names
    files.small_model(seed=1).save(target)
    assert os.listdir(folder) == ["m"], os.listdir(folder)
    container.read(target)


def check_lock(folder, target):
    """The path can be locked, and nothing but an unsigned lock file may be left."""
    with lock.take(target) as held:
        lock.remove(held)
    for name in os.listdir(folder):
        assert name == "m.lock" and not os.path.getsize(os.path.join(folder, name)), name


def run_locks(place):
    """All calls of taking and leaving a lock, all faults; their number, and that of misses."""
    folder = os.path.join(place, "locks")
    target = os.path.join(folder, "m")
    points = missed = 0
    os.mkdir(folder)
    _, _, calls = traced(target, script=LOCK)
    for name, number in of_the_save(calls, folder):
        for fault in FAULTS:
            shutil.rmtree(folder)
            os.mkdir(folder)
            code, said, now = traced(target, f"{name}:{fault}:when={number}", LOCK)
            hit = [line for n, k, line in now if n == name and k == number]
            if not hit or folder not in hit[0]:
                missed += 1
                continue
            points += 1
            assert code == 0 or "SIGKILL" in fault, (name, number, fault, code, said)
            check_lock(folder, target)
    return points, missed


def run():
    """All calls, all faults, over no file and over an old one."""
    place = os.path.realpath(tempfile.mkdtemp())
    old, new = (os.path.join(place, name) for name in ("old", "new"))
    files.small_model(seed=0).save(old)
    files.small_model(seed=1).save(new)
    with open(old, "rb") as a, open(new, "rb") as b:
        contents = a.read(), b.read()
    points = missed = 0
    for before in (None, contents[0]):
        folder = os.path.join(place, "folder")
        target = os.path.join(folder, "m")

        def prepare(before=before, folder=folder, target=target):
            shutil.rmtree(folder, ignore_errors=True)
            os.mkdir(folder)
            if before is not None:
                with open(target, "wb") as stream:
                    stream.write(before)

        prepare()
        _, _, calls = traced(target)
        for name, number in of_the_save(calls, folder):
            for fault in FAULTS:
                prepare()
                code, said, now = traced(target, f"{name}:{fault}:when={number}")
                hit = [line for n, k, line in now if n == name and k == number]
                if not hit or folder not in hit[0]:
                    missed += 1
                    continue
                points += 1
                killed = code != 0 and "SIGKILL" in fault
                assert code == 0 or killed, (name, number, fault, code, said)
                check(folder, target, before, contents[1], killed)
    locks, missed_locks = run_locks(place)
    shutil.rmtree(place)
    return {"points": points, "locks": locks, "missed": missed + missed_locks}


if __name__ == "__main__":
    print(run())
