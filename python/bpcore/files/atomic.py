"""Writing a file so that a reader, a crash or a full disk never meets half of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

_NODE = f"{zlib.crc32(os.uname().nodename.encode()):08x}"  # where process numbers hold
_OLD = 86400.0  # seconds after which a temporary file of another machine is taken for abandoned
_open_files: set[str] = set()  # temporary files that threads of this process are writing
_open_lock = threading.Lock()


def write_atomically(
    path: str | os.PathLike[str], data: bytes | Iterable[bytes | memoryview]
) -> None:
    """Replace the content of `path` by `data`, all or nothing, and durably.

    Temporary file in the same directory, write, fsync, rename, fsync of the directory. The mode of
    an existing file is kept and a symbolic link is followed; a new file's mode is the umask's.
    Temporary files that killed processes left for the same path are removed first.

    Raises
    ------
    OSError
        As the system said it; the old file is then unchanged and the temporary one removed. A
        failed fsync is not retried: the kernel may have dropped the pages (PostgreSQL, 2018).
        After the rename only "saved, but ... could not be synced" is left, with the new content.
    ValueError
        `path` is a device, a pipe or a socket.
    """
    target = os.path.realpath(os.fspath(path))
    folder, name = os.path.split(target)
    mode = _mode_of(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"cannot save {target!r}: there is no directory {folder!r}")
    _remove_stale(folder, name)
    token = os.urandom(4).hex()
    temporary = os.path.join(folder, f"{_prefix(name)}{_NODE}.{os.getpid()}.{token}.tmp")
    handle = -1
    with _open_lock:
        _open_files.add(temporary)
    try:
        try:
            handle = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666
            )
            if mode is not None:
                os.fchmod(handle, mode)
            for piece in [data] if isinstance(data, bytes) else data:
                rest = memoryview(piece)
                while rest:  # a write may be short
                    rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        finally:
            if handle >= 0:
                os.close(handle)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):  # not there: before it was opened, or after the rename
            os.unlink(temporary)
        raise
    finally:
        with _open_lock:
            _open_files.discard(temporary)
    _sync_directory(folder)


def check_writable(path: str, what: str, *, make_folders: bool = False) -> None:
    """Raise before long work what would keep a file from being written at its end.

    Parameters
    ----------
    path : str
    what : str
        How an error begins: the argument that the path comes from.
    make_folders : bool
        Whether missing folders are going to be made.

    Raises
    ------
    OSError
        `path` is a folder, its folder is missing, is a file, or may not be written to.
    ValueError
        `path` is a device, a pipe or a socket.
    """
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise IsADirectoryError(f"{what}: {path!r} is a folder, expected the path of a file")
    folder = os.path.dirname(target)
    if os.path.isdir(folder):
        _mode_of(target)
    while make_folders and not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.lexists(folder):
        raise FileNotFoundError(f"{what}: there is no folder {folder!r}; make it first")
    if not os.path.isdir(folder):
        raise NotADirectoryError(f"{what}: {folder!r} is a file, expected a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{what}: nothing can be written to the folder {folder!r}")


def _prefix(name: str) -> str:
    # realpath leaves room for names up to the limit of the file system, so the prefix is cut.
    return f".{os.fsencode(name)[:160].decode(errors='ignore')}."


def _remove_stale(folder: str, name: str) -> None:
    """Remove what killed writers of the same file left behind; never a reason to fail."""
    pattern = re.compile(re.escape(_prefix(name)) + r"([0-9a-f]{8})\.([0-9]+)\.[0-9a-f]{8}\.tmp")
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):
            match = pattern.fullmatch(entry)
            file = os.path.join(folder, entry)
            if match and _abandoned(file, match[1], int(match[2])):
                with contextlib.suppress(OSError):
                    os.unlink(file)


def _abandoned(file: str, node: str, process: int) -> bool:
    if node != _NODE:
        return time.time() - os.stat(file).st_mtime > _OLD
    if process == os.getpid():
        with _open_lock:
            return file not in _open_files
    return not _alive(process)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _mode_of(target: str) -> int | None:
    """Permission bits of an existing regular file, None where there is none."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"cannot save to {target!r}: it is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"cannot save to {target!r}: it is not a regular file")
    return stat.S_IMODE(status.st_mode)


def _sync_directory(folder: str) -> None:
    """Make the rename itself survive a power failure."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise OSError(error.errno, f"saved, but {folder!r} could not be synced to disk") from error


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Be the only one, of all processes and threads, that works with `path`.

    The lock is the system's on the file ``<path>.lock``, so it ends with the process that holds it,
    however that dies; the file only carries its number and is removed at the end.

    Raises
    ------
    BlockingIOError
        Another process, or another thread of this one, holds it.
    """
    file = os.path.realpath(path) + ".lock"
    handle = _take_lock(file)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):  # while it is still held, so it is no one else's
            os.unlink(file)
        os.close(handle)


def _take_lock(file: str) -> int:
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same_file(handle, file):
                return handle
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
            os.close(handle)
            raise BlockingIOError(f"{file!r} is held by process {holder or '?'}") from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its last holder has removed it meanwhile


def _same_file(handle: int, file: str) -> Any:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False
