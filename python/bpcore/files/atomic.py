"""Writing a file so that a reader, a crash or a full disk never meets half of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import time
import zlib
from collections.abc import Iterable

_OLD = 86400.0  # seconds after which a temporary file whose writer cannot be asked is abandoned


def _kernel() -> str:
    """Where locks of files hold: the running kernel, however many containers share its names."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            told = file.read()
    except OSError:  # not Linux
        told = os.uname().nodename.encode()
    return f"{zlib.crc32(told):08x}"


_KERNEL = _kernel()


def write_atomically(
    path: str | os.PathLike[str], data: bytes | Iterable[bytes | memoryview]
) -> None:
    """Replace the content of `path` by `data`, all or nothing, and durably.

    Temporary file in the same directory, write, fsync, rename, fsync of the directory. The mode of
    an existing file is kept and a symbolic link is followed; a new file's mode is the umask's.
    Temporary files that killed processes left for the same path are removed first: a living writer
    has its file locked, whatever container it runs in.

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
    handle, temporary = -1, ""
    try:
        while handle < 0:
            token = os.urandom(8).hex()
            temporary = os.path.join(folder, f"{_prefix(name)}{_KERNEL}.{token}.tmp")
            handle = _created(temporary)
        if mode is not None:
            os.fchmod(handle, mode)
        for piece in [data] if isinstance(data, bytes) else data:
            rest = memoryview(piece)
            while rest:  # a write may be short
                rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
        os.replace(temporary, target)  # while it is locked: nobody takes it for abandoned
    except BaseException:
        with contextlib.suppress(OSError):  # not there: before it was opened, or after the rename
            os.unlink(temporary)
        raise
    finally:
        if handle >= 0:
            with contextlib.suppress(OSError):  # all of it is on the disk since the fsync
                os.close(handle)
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
        _mode_of(path)  # /dev/stdout is a link to what may have no path
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


def _created(temporary: str) -> int:
    """A new file, locked as long as it is open; -1 if one who cleans up was faster."""
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = os.fstat(handle).st_nlink == 0
        except BlockingIOError:
            taken = True
        except OSError:  # a file system without locks, where only age tells who is abandoned
            taken = False
    except BaseException:
        os.close(handle)
        raise
    if taken:
        os.close(handle)
        return -1
    return handle


def _remove_stale(folder: str, name: str) -> None:
    """Remove what killed writers of the same file left behind; never a reason to fail."""
    # The second form is that of version 0.1, whose writers held no lock.
    pattern = re.compile(
        re.escape(_prefix(name))
        + r"(?:([0-9a-f]{8})\.[0-9a-f]{16}|[0-9a-f]{8}\.[0-9]+\.[0-9a-f]{8})\.tmp"
    )
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):
            match = pattern.fullmatch(entry)
            if match:
                with contextlib.suppress(OSError):
                    _remove_abandoned(os.path.join(folder, entry), match[1] == _KERNEL)


def _remove_abandoned(file: str, locks_tell: bool) -> None:
    """Remove a temporary file unless its writer lives, which then has it locked."""
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:
            locks_tell = False
        if locks_tell or time.time() - os.fstat(handle).st_mtime > _OLD:
            os.unlink(file)
    finally:
        os.close(handle)


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
