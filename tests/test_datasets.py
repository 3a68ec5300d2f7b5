"""The shipped digits and the MNIST reader: published facts, strict parsing, no network needed."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from bpcore import datasets
from bpcore.datasets import idx, mnist

# Samples of each class in optdigits.tes, from the data set's own description (optdigits.names).
CLASS_COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_are_the_published_ones():
    x, y = datasets.load_digits(scale=False, dtype="uint8")
    assert x.shape == (1797, 64) and x.dtype == np.uint8
    assert np.bincount(y).tolist() == CLASS_COUNTS
    assert x.min() == 0 and x.max() == 16
    # The first line of optdigits.tes: a zero.
    first = "0 0 5 13 9 1 0 0 0 0 13 15 10 15 5 0 0 3 15 2 0 11 8 0 0 4 12 0 0 8 8 0"
    assert x[0, :32].tolist() == [int(v) for v in first.split()] and y[0] == 0


def test_digits_match_scikit_learn_s_copy():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    theirs = sklearn_datasets.load_digits()
    x, y = datasets.load_digits(scale=False)
    assert (x == theirs.data).all() and (y == theirs.target).all()


def test_digits_forms():
    x, y = datasets.load_digits()
    assert x.dtype == np.float32 and y.dtype == np.int64
    assert x.min() == 0.0 and x.max() == 1.0 and x.flags.c_contiguous
    images, _ = datasets.load_digits(images=True, dtype="float64")
    assert images.shape == (1797, 8, 8) and (images.reshape(1797, 64) == x).all()


def test_digits_split_is_stratified_and_complete():
    x, y = datasets.load_digits()
    (a, ya), (b, yb) = datasets.load_digits(split=True)
    assert len(a) == 1442 and len(b) == 355
    assert np.bincount(yb).tolist() == [n // 5 for n in CLASS_COUNTS]
    rows = sorted(map(bytes, np.concatenate([a, b])))
    assert rows == sorted(map(bytes, x))
    assert not set(map(bytes, a)) & set(map(bytes, b))
    assert sorted([*ya, *yb]) == sorted(y)


def test_digits_refuse_bad_arguments():
    with pytest.raises(TypeError, match="split must be True or False, got str"):
        datasets.load_digits("train")
    with pytest.raises(ValueError, match="'uint8' cannot hold pixels scaled"):
        datasets.load_digits(dtype="uint8")
    with pytest.raises(TypeError, match="complex"):
        datasets.load_digits(dtype="complex64")


def test_data_file_is_small_and_its_licence_lies_beside_it():
    folder = Path(datasets.__file__).parent
    assert (folder / "digits.npz").stat().st_size < 60_000
    licence = (folder / "LICENSE").read_text()
    assert "CC BY 4.0" in licence and "10.24432/C50P49" in licence


def _idx(array, kind=8):
    head = struct.pack(">BBBB", 0, 0, kind, array.ndim)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.astype("u1").tobytes()


def test_idx_reads_what_the_format_says(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(_idx(array))
    (tmp_path / "a.gz").write_bytes(gzip.compress(_idx(array)))
    assert (idx.read_idx(tmp_path / "a") == array).all()
    assert (idx.read_idx(str(tmp_path / "a.gz")) == array).all()


GOOD = _idx(np.zeros((2, 3)))
DAMAGED = [
    (b"", "0 bytes are too few"),
    (b"<!DOCTYPE html>", "not an IDX file, it starts with b'<!DOCTYPE"),
    (GOOD[:2] + b"\x0d" + GOOD[3:], "type code 0x0d"),
    (GOOD[:3] + b"\x00" + GOOD[4:], "0 dimensions"),
    (GOOD[:3] + b"\xff" + GOOD[4:], "255 dimensions"),
    (GOOD[:9], "the header alone takes 12"),
    (GOOD[:-1], r"5 bytes of data, expected 6 for shape \(2, 3\)"),
    (GOOD + b"\0", "7 bytes of data, expected 6"),
    (GOOD[:4] + b"\xff\xff\xff\xff" * 2, "0 bytes of data, expected 18446744065119617025"),
]


@pytest.mark.parametrize(("content", "message"), DAMAGED)
def test_idx_refuses_damaged_files(content, message):
    with pytest.raises(ValueError, match=f"name.*{message}"):
        idx.parse_idx(content, "name")


def test_gzip_damage_and_bombs_are_refused():
    packed = gzip.compress(GOOD)
    for cut in range(3, len(packed)):
        with pytest.raises(ValueError, match="damaged gzip"):
            idx.decompress(packed[:cut], "name", 1000)
    flipped = packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:]
    with pytest.raises(ValueError, match="damaged gzip"):
        idx.decompress(flipped, "name", 1000)
    with pytest.raises(ValueError, match="more than the 1000 bytes"):
        idx.decompress(gzip.compress(b"\0" * 10**7), "name", 1000)


@pytest.fixture
def small_mnist(monkeypatch, tmp_path):
    """Four small files in MNIST's place, with their checksums."""
    rng = np.random.default_rng(0)
    files, contents = [], {}
    for file in mnist._FILES:
        shape = (6, *file.shape[1:]) if file.name.startswith("train") else (3, *file.shape[1:])
        content = _idx(rng.integers(0, 10, shape))
        contents[file.name] = content
        files.append(mnist._File(file.name, shape, (hashlib.sha256(content).hexdigest(),)))
    monkeypatch.setattr(mnist, "_FILES", tuple(files))
    monkeypatch.delenv("BPCORE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return contents


def _no_network(*args, **kwargs):
    raise mnist.urllib.error.URLError("no network in this test")


def test_mnist_from_a_folder(small_mnist, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist.urllib.request, "urlopen", _no_network)
    for i, (name, content) in enumerate(small_mnist.items()):
        if i % 2:
            (tmp_path / name).write_bytes(content)
        else:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    (x, y), (xt, yt) = datasets.load_mnist(tmp_path)
    assert x.shape == (6, 28, 28) and xt.shape == (3, 28, 28)
    assert y.shape == (6,) and yt.shape == (3,) and x.dtype == y.dtype == np.uint8
    monkeypatch.setenv("BPCORE_DATA", str(tmp_path))
    assert (datasets.load_mnist()[0][0] == x).all()


def test_mnist_refuses_other_content(small_mnist, tmp_path):
    for name, content in small_mnist.items():
        (tmp_path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"SHA-256 of the content is .*, expected"):
        datasets.load_mnist(tmp_path)


def test_mnist_missing_files(small_mnist, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist.urllib.request, "urlopen", _no_network)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        datasets.load_mnist(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\[.gz\] not found in"):
        datasets.load_mnist(tmp_path)
    with pytest.raises(ConnectionError, match=r"no network in this test(.|\n)*load_mnist\(path\)"):
        datasets.load_mnist()


def test_mnist_downloads_from_the_next_mirror_and_keeps_only_good_files(
    small_mnist, tmp_path, monkeypatch
):
    asked = []

    class Answer:
        def __init__(self, data):
            self.data = data

        def read(self, limit):
            return self.data[:limit]

        def __enter__(self):
            return self

        def __exit__(self, *args):
            return None

    def urlopen(url, timeout):
        asked.append(url)
        if url.startswith(mnist.MIRRORS[0]):
            return Answer(b"<html>moved</html>")
        return Answer(gzip.compress(small_mnist[Path(url).stem]))

    monkeypatch.setattr(mnist.urllib.request, "urlopen", urlopen)
    (x, _), _ = datasets.load_mnist()
    assert len(x) == 6 and len(asked) == 8
    cached = sorted(os.listdir(tmp_path / "cache" / "bpcore" / "mnist"))
    assert cached == sorted(f"{name}.gz" for name in small_mnist)
    monkeypatch.setattr(mnist.urllib.request, "urlopen", _no_network)
    assert (datasets.load_mnist()[0][0] == x).all()


def test_real_mnist_if_present():
    folder = os.environ.get("BPCORE_DATA")
    if not folder:
        pytest.skip("BPCORE_DATA does not name a folder with MNIST")
    (x, y), (xt, yt) = datasets.load_mnist(download=False)
    assert x.shape == (60000, 28, 28) and xt.shape == (10000, 28, 28)
    # Class counts of the labels, as published with the data.
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(y).tolist() == train
    assert np.bincount(yt).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert abs(float(x.mean()) - 33.318) < 0.001
