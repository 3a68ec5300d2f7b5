"""MNIST from its four IDX files: a folder, a cache or a download, with checksums."""

from __future__ import annotations

import os
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .idx import decompress, parse_idx

Pair = tuple[np.ndarray, np.ndarray]

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_TIMEOUT = 30.0  # seconds without an answer from a mirror


class _File(NamedTuple):
    name: str
    shape: tuple[int, ...]
    sha256: tuple[str, ...]  # of the unpacked content

    @property
    def size(self) -> int:
        return 4 + 4 * len(self.shape) + int(np.prod(self.shape))


# The checksums of the original files. The second one of the training images is of a copy that went
# through a PNG set in which pixel values 0 and 1 were merged (0.05 % of the pixels differ by 1).
_FILES = (
    _File(
        "train-images-idx3-ubyte",
        (60000, 28, 28),
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "b61ffb6f513fd9ff8d89824731f6b4ed7863c759c33056d701efb8412469fb04",
        ),
    ),
    _File(
        "train-labels-idx1-ubyte",
        (60000,),
        ("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",),
    ),
    _File(
        "t10k-images-idx3-ubyte",
        (10000, 28, 28),
        ("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",),
    ),
    _File(
        "t10k-labels-idx1-ubyte",
        (10000,),
        ("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",),
    ),
)


def load_mnist(
    path: str | os.PathLike[str] | None = None, *, download: bool = True
) -> tuple[Pair, Pair]:
    """Load MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 x 28 pixels.

    Parameters
    ----------
    path : path, optional
        Folder with the four IDX files, ``train-images-idx3-ubyte`` and so on, with or without
        ``.gz``. Without it: the folder named by the environment variable BPCORE_DATA, or its
        ``mnist`` subfolder, then the user's cache, and what is missing is downloaded to the
        cache (or to BPCORE_DATA, if set).
    download : bool
        Whether a missing file may be downloaded. Never done when `path` is given.

    Returns
    -------
    ((x, y), (x_test, y_test)) : x uint8 of shape (N, 28, 28), y uint8 of shape (N,).
        Bytes are converted batch by batch in ``fit``; put a scale into the model or divide by 255.

    Raises
    ------
    FileNotFoundError
        A file is missing; the message says which, and where it was looked for.
    OSError
        No mirror answered (``ConnectionError``).
    ValueError
        A file is damaged, not IDX, or its SHA-256 checksum is not MNIST's.

    Notes
    -----
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document
    recognition, Proceedings of the IEEE 86(11), 1998.
    """
    folders = _folders(path)
    may_download = download and path is None
    train_x, train_y, test_x, test_y = (_load(file, folders, may_download) for file in _FILES)
    return (train_x, train_y), (test_x, test_y)


def _folders(path: str | os.PathLike[str] | None) -> list[Path]:
    """Where to look, in order; the last one is where downloads go."""
    if path is not None:
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(
                f"load_mnist: {str(folder)!r} is not a folder with the four IDX files"
            )
        return [folder]
    data = os.environ.get("BPCORE_DATA")
    if data:
        return [Path(data).expanduser(), Path(data).expanduser() / "mnist"]
    return [_cache_dir() / "mnist"]


def _cache_dir() -> Path:
    """The user's cache folder: XDG_CACHE_HOME, ~/Library/Caches on macOS, else ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "bpcore"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "bpcore"
    return Path.home() / ".cache" / "bpcore"


def _load(file: _File, folders: list[Path], may_download: bool) -> np.ndarray:
    for folder in folders:
        for suffix in ("", ".gz"):
            candidate = folder / (file.name + suffix)
            if candidate.is_file():
                return _check(file, candidate.read_bytes(), str(candidate))
    if not may_download:
        places = ", ".join(str(folder) for folder in folders)
        raise FileNotFoundError(
            f"load_mnist: {file.name}[.gz] not found in {places}; put the four IDX files there, "
            "or call load_mnist() without a path where there is a network"
        )
    return _download(file, folders[-1])


def _check(file: _File, data: bytes, source: str) -> np.ndarray:
    """The array in `data`, after every check that it is MNIST's."""
    import hashlib  # here, because it takes longer than all else that bpcore imports

    content = decompress(data, source, file.size)
    array = parse_idx(content, source)
    if array.shape != file.shape:
        raise ValueError(f"{source}: holds shape {array.shape}, expected {file.shape}")
    digest = hashlib.sha256(content).hexdigest()
    if digest not in file.sha256:
        raise ValueError(
            f"{source}: SHA-256 of the content is {digest}, expected {' or '.join(file.sha256)}; "
            "the file is damaged or is another data set"
        )
    return array


def _download(file: _File, folder: Path) -> np.ndarray:
    """Get a file from the first mirror that has it, check it, and only then give it its name."""
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for mirror in MIRRORS:
        url = f"{mirror}{file.name}.gz"
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
                data = answer.read(file.size + 65536)  # never more than the file can have
            array = _check(file, data, url)
        except (urllib.error.URLError, OSError, ValueError) as error:
            failures.append(f"{url}: {error}")
            continue
        _write_atomically(folder / f"{file.name}.gz", data)
        return array
    raise ConnectionError(
        f"load_mnist: {file.name}.gz is not in {folder} and could not be downloaded:\n  "
        + "\n  ".join(failures)
        + f"\nPut the four IDX files into {folder}, or pass their folder: load_mnist(path)."
    )


def _write_atomically(target: Path, data: bytes) -> None:
    """Another process sees the whole file or none."""
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
