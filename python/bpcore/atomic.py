"""Writing a file so that a reader, a crash or a full disk never meets half of it."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat

_COUNTER = itertools.count()


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Replace the content of `path` by `data`, all or nothing, and durably.

    Temporary file in the same directory, write, fsync, rename, fsync of the directory. The mode of
    an existing file is kept and a symbolic link is followed; a new file's mode is the umask's.

    Raises
    ------
    OSError
        As the system said it; the old file is then unchanged and the temporary one removed. A
        failed fsync is not retried: the kernel may have dropped the pages (PostgreSQL, 2018).
    ValueError
        `path` is a device, a pipe or a socket.
    """
    target = os.path.realpath(os.fspath(path))
    folder, name = os.path.split(target)
    mode = _mode_of(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"cannot save {target!r}: there is no directory {folder!r}")
    # realpath leaves room for names up to the limit of the file system, so the prefix is cut.
    temporary = os.path.join(folder, f".{name[:180]}.{os.getpid()}.{next(_COUNTER)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    handle = os.open(temporary, flags, 0o666)
    try:
        try:
            if mode is not None:
                os.fchmod(handle, mode)
            rest = memoryview(data)
            while rest:  # a write may be short
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):  # an interrupt just after the rename
            os.unlink(temporary)
        raise
    _sync_directory(folder)


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
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        raise OSError(error.errno, f"saved, but {folder!r} could not be synced to disk") from error
    finally:
        os.close(handle)
