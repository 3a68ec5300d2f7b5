"""A lock on a path that other processes and threads respect, and that no crash leaves behind."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import re
import stat
import threading
import weakref

_OURS = re.compile(rb"bpcore [0-9]+\n")  # what is in a lock file of this package
_EARLIER = re.compile(rb"([0-9]+\n)?")  # one of version 0.1, or an empty one
_held: weakref.WeakSet[io.FileIO] = weakref.WeakSet()
_opening = threading.RLock()  # a fork in another thread must not miss one that is being opened


def take(path: str) -> io.FileIO:
    """Become the only one that works with `path`, until what is returned is closed.

    The lock is the system's (flock) on the file ``<path>.lock``, so it ends with the process that
    took it, however that dies; a forked child closes its copy. The content of the file is only for
    messages, and tells whether the file is this package's: any other is left as it is.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "run")
    >>> with take(path) as lock:
    ...     remove(lock)

    Raises
    ------
    BlockingIOError
        Another process, or another thread of this one, holds it.
    FileExistsError
        ``<path>.lock`` is something else: a file with other content, a link, a pipe, a folder.
    OSError
        It cannot be made or opened.
    """
    file = os.path.realpath(path) + ".lock"
    while True:
        lock, new = _opened(file)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _content(lock).decode("ascii", "replace").split()
                number = holder[-1] if holder and holder[-1].isdigit() else "?"
                raise BlockingIOError(f"{file!r} is held by process {number}") from None
            if _is_at(lock, file):  # else its last holder has removed it meanwhile
                _sign(lock, new)
                return lock
            lock.close()
        except BaseException:
            lock.close()
            raise


def remove(lock: io.FileIO) -> None:
    """Remove the file of a lock that is held, if it is this process's own; not a foreign one."""
    if lock.closed:  # in a forked child: it is its parent's
        return
    with contextlib.suppress(OSError):
        if _content(lock) == _signature() and _is_at(lock, str(lock.name)):
            os.unlink(str(lock.name))


def _opened(file: str) -> tuple[io.FileIO, bool]:
    """The file, and whether it has been made; never through a link, never one that may block."""
    new = False

    def opener(name: str, _: int) -> int:
        nonlocal new
        new = True
        with contextlib.suppress(FileExistsError):
            return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        new = False
        kind = os.lstat(name).st_mode
        if not stat.S_ISREG(kind):
            raise _foreign(name, "a symbolic link" if stat.S_ISLNK(kind) else "not a regular file")
        return os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)

    while True:
        with contextlib.suppress(FileNotFoundError), _opening:  # if removed since it was there
            lock = io.FileIO(file, "r+", opener=opener)
            _held.add(lock)
            return lock, new
        os.stat(os.path.dirname(file))  # raises if that is what was not found


def _sign(lock: io.FileIO, new: bool) -> None:
    """Write the process's number where the content may be replaced, or refuse the file."""
    content = _content(lock)
    if new or _OURS.fullmatch(content):
        os.ftruncate(lock.fileno(), 0)
        os.pwrite(lock.fileno(), _signature(), 0)
    elif not _EARLIER.fullmatch(content):
        raise _foreign(str(lock.name), "a file with other content")


def _foreign(file: str, what: str) -> FileExistsError:
    return FileExistsError(f"{file!r} is {what}, expected no such file or a lock of bpcore's own")


def _signature() -> bytes:
    return f"bpcore {os.getpid()}\n".encode()


def _content(lock: io.FileIO) -> bytes:
    return os.pread(lock.fileno(), 64, 0)


def _is_at(lock: io.FileIO, file: str) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), os.lstat(file))
    except FileNotFoundError:
        return False


def _close_in_child() -> None:
    for lock in list(_held):
        lock.close()  # of the child alone: the parent's descriptor holds on
    _opening.release()


os.register_at_fork(
    before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_close_in_child
)
