"""The lock of a checkpoint: one run at a time, gone with its process, harmless to other files."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import stat
import subprocess
import sys

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import CheckpointError
from bpcore.files import lock

from .helpers import files, support

X, Y = np.ones((6, 4)), np.arange(6) % 2


def fit(path, model=None, **options):
    model = files.small_model() if model is None else model
    return model.fit(X, Y, batch_size=2, verbose=0, checkpoint=path, **options)


def python(code, *arguments, **options):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=env, **options)


# ---- who holds it --------------------------------------------------------------------------------

HOLD = """
import sys, time
from bpcore.files import lock
with lock.take(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_ends_with_its_holder(tmp_path):
    path = str(tmp_path / "run")
    holder = python(HOLD, path)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(BlockingIOError, match=rf"run\.lock' is held by process {holder.pid}$"):
        lock.take(path)
    with pytest.raises(CheckpointError, match=f"another fit.*process {holder.pid}"):
        fit(path)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert os.listdir(tmp_path) == ["run.lock"]
    own = pytest.raises(BlockingIOError, match=str(os.getpid()))
    with lock.take(path) as held:
        with own:
            lock.take(path)
        lock.remove(held)
    assert not os.listdir(tmp_path)


CHILD = """
import os, subprocess, sys, time
import numpy as np
import bpcore as bp
from tests.helpers import files

class Forking(bp.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            if sys.argv[2] == "program":
                subprocess.Popen(["sleep", "60"], close_fds=False)
                print("forked", flush=True)
            elif os.fork() == 0:
                print("forked", flush=True)
            time.sleep(60)
            os._exit(0)

x, y = np.ones((6, 4)), np.arange(6) % 2
files.small_model().fit(
    x, y, epochs=3, verbose=0, checkpoint=sys.argv[1], callbacks=[Forking()]
)
"""


@pytest.mark.parametrize("child", ["fork", "program"])
def test_a_child_does_not_hold_the_lock_of_a_killed_run(tmp_path, child):
    run = python(CHILD, tmp_path / "run", child, start_new_session=True, cwd=support.ROOT)
    try:
        assert run.stdout.readline() == b"forked\n"
        with pytest.raises(CheckpointError, match=f"process {run.pid}"):
            fit(tmp_path / "run", epochs=3)
        run.kill()
        run.wait()
        os.killpg(run.pid, 0)  # the child is alive
        with lock.take(str(tmp_path / "run")) as held:
            lock.remove(held)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.stdout.close()
    assert "run.lock" not in os.listdir(tmp_path)


def test_a_child_that_ends_in_the_fit_leaves_the_lock_to_its_parent(tmp_path):
    """The way out of a forked child leads through the same lines as its parent's."""
    path = str(tmp_path / "run")
    with lock.take(path) as held:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                lock.remove(held)
                held.close()
                with pytest.raises(BlockingIOError):
                    lock.take(path)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with pytest.raises(BlockingIOError):
            lock.take(path)
        assert os.path.exists(path + ".lock")
        lock.remove(held)
    assert not os.listdir(tmp_path)


def test_no_descriptor_is_left(tmp_path):
    path = str(tmp_path / "run")
    (tmp_path / "other.lock").write_text("precious")
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    with lock.take(path) as held:
        for _ in range(3):
            with pytest.raises(BlockingIOError):
                lock.take(path)
            with pytest.raises(FileExistsError):
                lock.take(str(tmp_path / "other"))
        lock.remove(held)
    if before:
        assert len(os.listdir("/proc/self/fd")) == len(before)


def test_an_interrupt_leaves_no_lock(tmp_path, monkeypatch):
    """Wherever it strikes: after each call of the system that taking a lock makes."""
    path = str(tmp_path / "run")
    calls = [(os, "open"), (fcntl, "flock"), (os, "fstat"), (os, "pread"), (os, "pwrite")]
    for module, name in calls:
        real = getattr(module, name)

        def interrupted(*arguments, real=real, **options):
            result = real(*arguments, **options)
            if real is os.open:
                os.close(result)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                lock.take(path)
        with lock.take(path) as held:
            lock.remove(held)
        (tmp_path / "run.lock").unlink(missing_ok=True)


# ---- what else may have its name -----------------------------------------------------------------


def state(folder):
    """All that can be seen of a folder without opening what may block."""
    found = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        info = entry.stat(follow_symlinks=False)
        content = None
        if entry.is_symlink():
            content = os.readlink(entry)
        elif stat.S_ISREG(info.st_mode):
            with open(entry, "rb") as stream:
                content = stream.read()
        found[entry.name] = info.st_ino, info.st_mode, content
    return found


def link_to(target):
    return lambda file: file.symlink_to(file.with_name(target))


def listening(file):
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.getcwd()
        os.chdir(file.parent)  # the address has little room
        try:
            server.bind(file.name)
        finally:
            os.chdir(folder)


FOREIGN = {
    "link": link_to("precious"),
    "link to an empty file": link_to("empty"),
    "dangling link": link_to("nothing"),
    "loop": link_to("run.lock"),
    "poetry.lock": lambda file: file.write_text("[[package]]\n"),
    "number": lambda file: file.write_text("12\n13\n"),
    "hard link": lambda file: os.link(file.with_name("precious"), file),
    "bytes": lambda file: file.write_bytes(b"bpcore 12\n\0"),
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "socket": listening,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_not_ours_is_refused_and_unchanged(tmp_path, kind):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "empty").write_text("")
    FOREIGN[kind](tmp_path / "run.lock")
    before, weights = state(tmp_path), (model := files.small_model()).get_weights()
    with pytest.raises(CheckpointError, match=r"cannot be locked.*run\.lock.*pass another path"):
        fit(tmp_path / "run", model)
    assert state(tmp_path) == before
    assert all(map(support.same_bits, model.get_weights(), weights))


@pytest.mark.parametrize(
    "content", ["", "4194305\n", f"{os.getpid()}\n"], ids=["none", "far", "own"]
)
def test_an_empty_file_and_one_of_version_0_1_serve_and_stay(tmp_path, content):
    """Who made them cannot be told, so they are locked, and neither written nor removed."""
    (tmp_path / "run.lock").write_text(content)
    before = state(tmp_path)["run.lock"]
    seen = []

    class Looking(bp.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            with pytest.raises(CheckpointError, match="another fit"):
                fit(tmp_path / "run")
            with open(tmp_path / "run.lock") as stream, pytest.raises(BlockingIOError):
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)  # as version 0.1 asks
            seen.append(state(tmp_path)["run.lock"])

    fit(tmp_path / "run", callbacks=[Looking()])
    assert seen == [before] and state(tmp_path)["run.lock"] == before


def test_what_a_killed_run_left_is_taken_and_removed(tmp_path):
    (tmp_path / "run.lock").write_text("bpcore 4194305\n")
    fit(tmp_path / "run")
    assert os.listdir(tmp_path) == ["run"]


def test_a_file_that_takes_the_locks_place_during_the_run_stays(tmp_path):
    """Replaced by another, or overwritten in place."""
    for how in ("replaced", "overwritten"):
        path = str(tmp_path / how)
        with lock.take(path) as held:
            if how == "replaced":
                os.unlink(path + ".lock")
            with open(path + ".lock", "w") as stream:
                stream.write("precious")
            lock.remove(held)
        with open(path + ".lock") as stream:
            assert stream.read() == "precious"


def test_a_linked_checkpoint_has_the_lock_of_its_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with lock.take(str(tmp_path / "link")):
        assert (tmp_path / "run.lock").read_text() == f"bpcore {os.getpid()}\n"
        with pytest.raises(BlockingIOError, match=re.escape(str(tmp_path / "run.lock"))):
            lock.take(str(tmp_path / "run"))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        lock.take(str(tmp_path / "none" / "run"))
