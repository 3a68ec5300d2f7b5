"""Writing files: all or nothing at every call that can fail, durable, one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

import bpcore as bp
from bpcore.files import atomic, container

from .helpers import files, support


def test_mode_of_a_file_is_kept_and_links_are_followed(tmp_path):
    target, link = tmp_path / "file", tmp_path / "link"
    atomic.write_atomically(target, b"1")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask
    target.chmod(0o640)
    link.symlink_to(target)
    atomic.write_atomically(link, b"2")
    assert link.is_symlink() and target.read_bytes() == b"2"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_order_of_a_write(tmp_path, monkeypatch):
    calls = []

    def record(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            calls.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(atomic.os, name, call)

    for name in ("open", "write", "fsync", "close", "replace"):
        record(name)
    atomic.write_atomically(tmp_path / "file", b"data")
    expected = ["open", "write", "fsync", "replace", "close", "open", "fsync", "close"]
    assert calls == expected


@pytest.mark.parametrize("function", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, function, error):
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, function, fail)
        with pytest.raises(type(error)):
            atomic.write_atomically(target, b"new")
    assert target.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]
    atomic.write_atomically(target, b"new")
    assert target.read_bytes() == b"new"


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(atomic.os, "write", lambda handle, data: real(handle, data[:3]))
    atomic.write_atomically(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


# ---- every call of a save fails in turn ----------------------------------------------------------

CALLS = (
    "stat",
    "listdir",
    "urandom",
    "getpid",
    "open",
    "fchmod",
    "write",
    "fsync",
    "close",
    "replace",
    "kill",
    "unlink",
)
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR)
PIECES = [b"new ", b"content", b" of the file " * 100]
NEW = b"".join(PIECES)


class Faulty:
    """The module os with call number `fail_at`, of those above, doing something else."""

    def __init__(self, fail_at, fault):
        self.count, self.fail_at, self.fault = 0, fail_at, fault
        self.path = os.path

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in CALLS:
            return real

        def call(*arguments, **options):
            self.count += 1
            return (self.fault if self.count == self.fail_at else lambda f, *a, **o: f(*a, **o))(
                real, *arguments, **options
            )

        return call


def error_of(number):
    def fault(real, *arguments, **options):
        if real is os.close:  # Linux: the file is closed whatever close says
            real(*arguments)
        raise OSError(number, os.strerror(number))

    return fault


def short(real, *arguments, **options):
    if real is os.write:
        return real(arguments[0], arguments[1][: max(1, len(arguments[1]) // 3)])
    return real(*arguments, **options)


def die_before(real, *arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)


def die_after(real, *arguments, **options):
    try:
        real(*arguments, **options)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


def interrupted(real, *arguments, **options):
    result = real(*arguments, **options)
    if real is os.open:
        os.close(result)
    raise KeyboardInterrupt


def saved_with(fault, fail_at, target, monkeypatch):
    """What a save with one fault raises, if anything, and how many calls it made."""
    faulty = Faulty(fail_at, fault)
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "os", faulty)
        try:
            atomic.write_atomically(target, iter(PIECES))
            raised = None
        except (OSError, KeyboardInterrupt) as error:
            raised = error
    return raised, faulty.count


@pytest.mark.parametrize("old", [None, b"old content"])
def test_every_call_fails_in_turn(tmp_path, monkeypatch, old):
    """Errors, short writes, interrupts and kills at every call: old file or new file, no third."""
    points = 0
    faults = [error_of(number) for number in ERRORS] + [short, interrupted]
    for fault in faults:
        total = 99
        fail_at = 0
        while fail_at < total:
            fail_at += 1
            folder = tmp_path / "a"
            folder.mkdir()
            target = folder / "file"
            if old is not None:
                target.write_bytes(old)
            raised, count = saved_with(fault, fail_at, target, monkeypatch)
            total = max(count, fail_at) if count < fail_at else 99
            left = target.read_bytes() if target.exists() else None
            assert left == (NEW if raised is None else left) and left in (old, NEW), fail_at
            if raised is not None and left == NEW and isinstance(raised, OSError):
                assert "could not be synced" in str(raised)
            if isinstance(raised, OSError) and left == NEW:
                assert old != NEW
            temporary = [name for name in os.listdir(folder) if name != "file"]
            assert not temporary, (fail_at, fault, temporary)
            atomic.write_atomically(target, b"next")
            assert target.read_bytes() == b"next"
            shutil.rmtree(folder)
            points += 1
    assert points >= 80


@pytest.mark.parametrize("fault", [die_before, die_after])
@pytest.mark.parametrize("old", [None, b"old content"])
def test_killed_at_every_call(tmp_path, monkeypatch, fault, old):
    """A reader finds the old or the new file, and the next save removes what was left."""
    points = 0
    for fail_at in range(1, 99):
        folder = tmp_path / "a"
        folder.mkdir()
        target = folder / "file"
        if old is not None:
            target.write_bytes(old)
        child = os.fork()
        if child == 0:
            try:
                saved_with(fault, fail_at, target, monkeypatch)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        left = target.read_bytes() if target.exists() else None
        assert left in (old, NEW), fail_at
        if os.WIFEXITED(status):
            assert left == NEW
            break
        points += 1
        atomic.write_atomically(target, b"next")
        assert os.listdir(folder) == ["file"] and target.read_bytes() == b"next"
        shutil.rmtree(folder)
    assert points >= 13


def test_the_faults_are_noticed(tmp_path, monkeypatch):
    """The harness itself: without cleaning up, or written in place, it would see a third state."""
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def in_place(path, data):
        handle = atomic.os.open(path, os.O_WRONLY | os.O_TRUNC)
        for piece in data:
            atomic.os.write(handle, piece)
        atomic.os.close(handle)

    monkeypatch.setattr(atomic, "write_atomically", in_place)
    raised, _ = saved_with(error_of(errno.ENOSPC), 3, target, monkeypatch)
    assert raised.errno == errno.ENOSPC and target.read_bytes() not in (b"old", NEW)


def test_a_real_full_disk(tmp_path):
    """A limit on the size of files gives real short writes, then EFBIG."""
    code = """
import resource, signal, sys
import bpcore as bp
from tests.helpers import files
model = files.small_model()
model.save(sys.argv[1])
before = open(sys.argv[1], "rb").read()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    model.save(sys.argv[1])
except OSError as error:
    print(error.errno)
assert open(sys.argv[1], "rb").read() == before
bp.load_model(sys.argv[1])
"""
    done = support.run_python(code, tmp_path / "m")
    assert int(done.stdout) == errno.EFBIG and os.listdir(tmp_path) == ["m"]


def test_order_of_system_calls(tmp_path):
    """open O_EXCL, writes, fsync, rename, close, fsync of the folder, as the kernel sees it."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    trace = tmp_path / "trace"
    code = (
        "from bpcore.files import atomic; "
        f"atomic.write_atomically({str(tmp_path / 'file')!r}, b'data')"
    )
    command = [
        "strace",
        "-f",
        "-y",
        "-o",
        str(trace),
        "-e",
        "trace=openat,write,fsync,close,rename,renameat,renameat2",
        sys.executable,
        "-c",
        code,
    ]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if "Operation not permitted" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    lines = [line for line in trace.read_text().splitlines() if str(tmp_path) in line]
    begin = next(
        i for i, line in enumerate(lines) if "O_EXCL" in line
    )  # after the look for leavings
    lines = lines[begin:]
    calls = [
        re.search(r"(\w+)\(", line)[1].removesuffix("at2").removesuffix("at") for line in lines
    ]
    assert calls == ["open", "write", "fsync", "rename", "close", "open", "fsync", "close"], lines
    assert "O_EXCL" in lines[0] and ".tmp" in lines[2] and f"<{tmp_path}>" in lines[6]


def test_what_killed_writers_left_is_removed(tmp_path):
    """A lock tells who lives, where locks can be asked; else a day must have passed."""
    prefix, token = atomic._prefix("file"), "0123456789abcdef"
    here, elsewhere = f"{prefix}{atomic._KERNEL}.", f"{prefix}00000000."
    earlier = f"{elsewhere}1.01234567.tmp"  # of version 0.1
    stale = [f"{here}{token}.tmp", f"{elsewhere}{token}.tmp", earlier]
    kept = [
        f"{here}{token[::-1]}.tmp",  # its writer lives
        f"{elsewhere}{token[::-1]}.tmp",
        f"{elsewhere}{os.getpid()}.01234567.tmp",
        ".other.tmp",
        "file.tmp",
        f"{here}x.{token}.tmp",
    ]
    for name in stale + kept:
        (tmp_path / name).write_bytes(b"")
    for name in stale[1:]:
        os.utime(tmp_path / name, (0, 0))
    with open(tmp_path / kept[0]) as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        os.utime(tmp_path / kept[0], (0, 0))
        atomic.write_atomically(tmp_path / "file", b"1")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "file"])


def test_without_locks_age_tells_who_is_abandoned(tmp_path, monkeypatch):
    def unsupported(*arguments):
        raise OSError(errno.EOPNOTSUPP, "no locks here")

    monkeypatch.setattr(atomic.fcntl, "flock", unsupported)
    names = [f"{atomic._prefix('file')}{atomic._KERNEL}.{k:016x}.tmp" for k in range(2)]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    os.utime(tmp_path / names[0], (0, 0))
    atomic.write_atomically(tmp_path / "file", b"1")
    assert sorted(os.listdir(tmp_path)) == sorted([names[1], "file"])


def test_a_file_that_one_who_cleans_up_has_taken_is_made_anew(tmp_path, monkeypatch):
    """Between its making and its locking a new file looks abandoned."""
    real, taken = fcntl.flock, []

    def beaten(handle, operation):
        if isinstance(handle, int) and len(taken) < 2:
            (name,) = [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
            taken.append(name)
            with open(tmp_path / name) as cleaner:
                real(cleaner, operation)
                os.unlink(tmp_path / name)
                if len(taken) == 1:
                    return real(handle, operation)  # while it is held: an error
        return real(handle, operation)

    monkeypatch.setattr(atomic.fcntl, "flock", beaten)
    atomic.write_atomically(tmp_path / "file", b"1")
    assert len(set(taken)) == 2 and os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"1"


HAMMER = """
import os, sys
os.getpid = lambda: 7  # as in containers, whose processes begin to count anew
from bpcore.files import atomic
data = os.urandom(50_000)
sys.stdout.write("ready")
sys.stdout.flush()
sys.stdin.readline()
for _ in range(60):
    atomic.write_atomically(sys.argv[1], data)
"""


def test_writers_that_take_each_other_for_themselves(tmp_path):
    """Three processes of one number and one host's name save one path: all saves succeed."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", HAMMER, str(tmp_path / "m")]
    writers = [subprocess.Popen(command, env=env, **pipe) for _ in range(3)]
    for writer in writers:
        assert writer.stdout.read(5) == b"ready"
    for writer in writers:
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors.decode()
    assert os.listdir(tmp_path) == ["m"] and (tmp_path / "m").stat().st_size == 50_000


def test_two_threads_and_a_reader(tmp_path):
    """Two writers of one path at once: a reader never meets anything but one of the two files."""
    target = tmp_path / "m"
    contents = [files.packed(*files.model_parts()), hostile_good()]
    atomic.write_atomically(target, contents[0])
    stop = threading.Event()
    errors = []

    def write(data):
        try:
            while not stop.is_set():
                atomic.write_atomically(target, data)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 1
    while time.monotonic() < end and not errors:
        container.read(str(target))
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors and os.listdir(tmp_path) == ["m"]


def hostile_good():
    document, arrays = files.model_parts()
    arrays["a/bias"] += 1
    return files.forged(document, arrays)


@pytest.mark.parametrize("save", ["save", "save_weights", "save_checkpoint"])
def test_training_that_begins_while_a_file_is_written(save, tmp_path, monkeypatch):
    """In another thread, after the hash was taken: the file holds what was hashed."""
    model = files.small_model()
    x, y = support.np.ones((8, 4)), support.np.arange(8) % 2
    model.fit(x, y, verbose=0)
    before = model.get_weights()
    create = atomic._created

    def created(name):
        thread = threading.Thread(target=model.fit, args=(x, y), kwargs={"verbose": 0})
        thread.start()
        thread.join()
        return create(name)

    monkeypatch.setattr(atomic, "_created", created)
    getattr(model, save)(tmp_path / "m")
    assert not all(map(support.same_bits, before, model.get_weights()))
    if save == "save_weights":
        model.load_weights(tmp_path / "m")
        found = model
    else:
        found = (bp.load_model if save == "save" else bp.load_checkpoint)(tmp_path / "m")
    assert all(map(support.same_bits, before, found.get_weights()))


def test_saving_during_a_fit_of_another_thread(tmp_path):
    """The weights that are hashed are the weights that are written."""
    model = files.small_model()
    x, y = support.np.ones((200, 4)), support.np.arange(200) % 2
    stop = threading.Event()

    def train():
        while not stop.is_set():
            model.fit(x, y, batch_size=4, epochs=2, verbose=0)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(60):
            model.save(tmp_path / "m")
            bp.load_model(tmp_path / "m")
    finally:
        stop.set()
        thread.join()
