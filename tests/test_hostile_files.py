"""The loader trusts nothing: hostile files are refused with FormatError, quickly, in bounded
memory, and without running, importing or opening anything."""

from __future__ import annotations

import os
import random
import re
import time

import pytest

import bpcore as bp
from bpcore.errors import CheckpointError, FormatError
from bpcore.files import container

from .helpers import files, hostile_files, support

NOT_OURS = re.compile(r"has no attribute|unsupported operand|not subscriptable|index out of range|"
                      r"unhashable|is not iterable|unexpected keyword")  # fmt: skip


def refused(load, path, name, message):
    start = time.process_time()
    with pytest.raises(FormatError) as caught:
        load(path)
    elapsed = time.process_time() - start
    text = str(caught.value)
    assert re.search(message, text, re.S), f"{name}: /{message}/ is not in: {text}"
    assert text.isprintable() and len(text) < 2000, f"{name}: {text[:300]!r}"
    assert elapsed < 1, f"{name} took {elapsed:.2f} s"


def test_every_hostile_model_is_refused(tmp_path):
    path, canary = str(tmp_path / "m"), tmp_path / "canary"
    count = 0
    for name, data, message in hostile_files.models(str(canary)):
        with open(path, "wb") as stream:
            stream.write(data)
        refused(bp.load_model, path, name, message)
        count += 1
    assert count >= 110 and not canary.exists()


def test_every_hostile_checkpoint_is_refused(tmp_path):
    path = str(tmp_path / "m")
    document, arrays = files.checkpoint_parts()
    (tmp_path / "m").write_bytes(files.forged(document, arrays))
    assert bp.load_checkpoint(path).optimizer.iterations == 1
    for name, data, message in hostile_files.checkpoints():
        (tmp_path / "m").write_bytes(data)
        refused(bp.load_checkpoint, path, name, message)


def test_the_sound_file_the_corpus_starts_from_is_accepted(tmp_path):
    (tmp_path / "m").write_bytes(hostile_files.good())
    model = bp.load_model(tmp_path / "m")
    assert [layer.name for layer in model.layers] == ["a", "b"]
    model.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == hostile_files.good()


def flips(path, start, size, refuse):
    """Every bit of a file flipped, in place."""
    handle = os.open(path, os.O_RDWR)
    for i in range(start, size):
        (byte,) = os.pread(handle, 1, i)
        for bit in range(8):
            os.pwrite(handle, bytes([byte ^ 1 << bit]), i)
            refuse(path, (i, bit))
        os.pwrite(handle, bytes([byte]), i)
    os.close(handle)


def is_refused(path, what):
    try:
        container.read(path)
    except FormatError:
        return
    raise AssertionError(f"accepted a file changed at {what}")


def test_every_flipped_bit_and_every_truncation_is_found(tmp_path):
    """Of a model of 4 KiB: 32,768 files and 4,096."""
    model = bp.Sequential([bp.layers.Dense(15, "relu"), bp.layers.Dense(32), bp.layers.Dense(2)],
                          seed=0)  # fmt: skip
    model.build((8,))
    path = str(tmp_path / "m")
    model.save(path)
    data = (tmp_path / "m").read_bytes()
    assert 4000 <= len(data) <= 4200
    flips(path, 0, len(data), is_refused)
    assert (tmp_path / "m").read_bytes() == data
    container.read(path)
    for cut in range(len(data) - 1, -1, -1):
        os.truncate(path, cut)
        is_refused(path, cut)


def test_bytes_put_in_and_taken_out(tmp_path):
    data, path = hostile_files.good(), tmp_path / "m"
    for i in range(0, len(data), 8):
        for changed in (
            data[:i] + data[i + 1 :],
            data[:i] + b"\0" + data[i:],
            data[:i] + b" " + data[i:],
        ):
            path.write_bytes(changed)
            is_refused(str(path), i)


MEMORY = """
import resource, sys, time
import numpy, bpcore as bp
from tests.helpers import hostile_files, files
bp.load_model(sys.argv[2])
def peak():
    with open("/proc/self/status") as stream:
        lines = dict(line.split(":", 1) for line in stream)
    return int(lines["VmHWM"].split()[0]) * 1024
worst = 0.0
import gc, json, os
# an address space without room for what the headers claim
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, used + 2**27))
for name in json.loads(sys.argv[3]):
    path = os.path.join(sys.argv[1], name)
    size = os.path.getsize(path)
    gc.collect()
    with open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")
    before = peak()
    try:
        bp.load_model(path)
        raise SystemExit(f"{name} was accepted")
    except bp.FormatError:
        pass
    more = peak() - before
    assert more <= 2 * size + 16 * 2**20, (name, size, more)
    worst = max(worst, more - 2 * size)
print(worst)
"""


def test_memory_is_bounded(tmp_path):
    """At most twice the file and 16 MiB, whatever sizes the file claims."""
    import json

    if not os.path.exists("/proc/self/clear_refs"):
        pytest.skip("needs Linux's /proc to measure peak memory")
    names = []
    for name, data, _ in hostile_files.models():
        (tmp_path / name.replace("/", "_")).write_bytes(data)
        names.append(name.replace("/", "_"))
    sparse = tmp_path / "M13-sparse"
    sparse.write_bytes(hostile_files.good())
    os.truncate(sparse, 2**40)
    (tmp_path / "good").write_bytes(hostile_files.good())
    support.run_python(MEMORY, tmp_path, tmp_path / "good", json.dumps([*names, "M13-sparse"]))


AUDIT = """
import sys
import bpcore as bp
seen = []
def hook(event, arguments):
    if event.split(".")[0] in ("import", "exec", "compile", "os", "subprocess", "socket", "shutil",
                               "ctypes", "pickle", "tempfile", "open", "marshal", "code", "glob"):
        seen.append((event, str(arguments[0])[:200] if arguments else ""))
bp.load_model, bp.load_checkpoint
sys.addaudithook(hook)
getattr(bp, sys.argv[2])(sys.argv[1])
print(seen)
"""


@pytest.mark.parametrize("kind", ["load_model", "load_checkpoint"])
def test_loading_opens_one_file_and_runs_nothing(tmp_path, kind):
    """An audit hook sees one open of the file and no import, exec, compile, process or socket, even
    when it is the first file of the process."""
    path = tmp_path / "m"
    parts = files.model_parts() if kind == "load_model" else files.checkpoint_parts()
    path.write_bytes(files.forged(*parts))
    done = support.run_python(AUDIT, path, kind)
    assert done.stdout.strip() == str([("open", str(path))])


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "m"
    path.write_bytes(hostile_files.good())
    real = os.readv

    def after(change):
        done = []

        def readv(handle, buffers):
            if not done:
                done.append(change())
            return real(handle, buffers)

        monkeypatch.setattr(container.os, "readv", readv)

    after(lambda: os.truncate(path, 300))
    with pytest.raises(FormatError, match="shrank"):
        bp.load_model(path)
    path.write_bytes(hostile_files.good())
    after(lambda: path.write_bytes(hostile_files.good() + b"more"))
    with pytest.raises(FormatError, match="grew"):
        bp.load_model(path)


def test_kinds_of_paths(tmp_path):
    good = tmp_path / "good"
    good.write_bytes(hostile_files.good())
    (tmp_path / "link").symlink_to(good)
    (tmp_path / "a\nb").write_bytes(hostile_files.good())
    for name in ("link", "a\nb"):
        bp.load_model(tmp_path / name)
    (tmp_path / "a\nb").write_bytes(b"x" * 100)
    with pytest.raises(FormatError, match=r"a\\nb"):
        bp.load_model(tmp_path / "a\nb")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError, match="loop"):
        bp.load_model(tmp_path / "loop")
    for device in ("/dev/zero", "/dev/full"):
        if os.path.exists(device):
            with pytest.raises(ValueError, match="not a regular file"):
                bp.load_model(device)
    # /proc says that this regular file has no bytes
    if os.path.exists("/proc/self/mem"):
        with pytest.raises(FormatError, match="0 bytes"):
            bp.load_model("/proc/self/mem")
    with pytest.raises(OSError, match="too long"):
        bp.load_model("x" * 5000)


def test_structure_aware_mutations_are_refused_or_load(tmp_path):
    """A short run of the fuzzer; the nox session `fuzz` does a million."""
    from .fuzz import fuzz_files

    done = fuzz_files.run(600, seed=random.Random(5).getrandbits(32), folder=str(tmp_path))
    assert done["refused"] > 400 and done["loaded"] > 5


def test_checkpoint_error_is_a_format_error():
    assert issubclass(CheckpointError, FormatError) and bp.CheckpointError is CheckpointError
    assert bp.FormatError is FormatError
