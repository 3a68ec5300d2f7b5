"""Each bad input is one clear error before any work: exact type, what came, what was expected, and
nothing changed. The rows are in bad_inputs.py, bad_data.py and bad_files.py."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest

import bpcore as bp

from .helpers import bad_data, bad_files, bad_inputs, bad_penalties, support

TABLES = {**bad_inputs.TABLES, **bad_data.TABLES, **bad_files.TABLES, **bad_penalties.TABLES}
ROWS = [(f"{t}-{row[0]}", *row[1:]) for t, table in TABLES.items() for row in table]
# What would say that a check is missing and something deeper stumbled.
NOT_OURS = re.compile(
    r"Unable to cast|incompatible function arguments|operands could not be broadcast|"
    r"object has no attribute|unsupported operand|not subscriptable|index \d+ is out of bounds"
)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name, call, error, pattern", ROWS, ids=[r[0] for r in ROWS])
def test_bad_input(name, call, error, pattern, threads_restored, tmp_path):
    e = bad_inputs.env(tmp_path)
    x, y, before = e.x.copy(), e.y.copy(), support.weights_hash(e.model)
    threads = bp.get_num_threads()
    start = time.process_time()  # other programs may hold the CPU meanwhile
    with pytest.raises(error) as caught:
        call(e)
    elapsed = time.process_time() - start
    message = str(caught.value)
    assert re.search(pattern, message, re.S), f"/{pattern}/ is not in: {message}"
    assert not NOT_OURS.search(message), message
    assert not isinstance(caught.value, (SystemError, AssertionError))
    assert len(message) < 2000 and elapsed < 1
    assert support.weights_hash(e.model) == before, "the model has changed"
    assert np.array_equal(e.x, x) and np.array_equal(e.y, y)
    assert bp.get_num_threads() == threads
    e.model.compile(optimizer="adam", loss="cross_entropy")
    e.model.fit(x, y, verbose=0)  # still usable


def test_there_are_enough_rows():
    assert len(ROWS) >= 150 and len({r[0] for r in ROWS}) == len(ROWS)


@pytest.mark.parametrize("call", [
    lambda e: bp.layers.Dense(np.int64(3)),
    lambda e: e.model.set_weights([np.asfortranarray(w) for w in e.model.get_weights()]),
    lambda e: e.fit(batch_size=2**30),
    lambda e: e.fit(batch_size=np.int32(4)),
    lambda e: e.fit(epochs=0),
    lambda e: e.fit(y=e.y.astype(float)),
    lambda e: e.fit(y=e.y.astype(np.uint8)),
    lambda e: e.fit(y=np.eye(3)[e.y]),
    lambda e: e.fit(np.ma.masked_array(e.x)),
    lambda e: e.fit(e.x.tolist(), e.y.tolist()),
    lambda e: e.model.predict(e.x[:0]),
    lambda e: e.model.predict(e.x, out=np.empty((10, 3), np.float32)),
    lambda e: e.model.compile(loss="mse", optimizer=bp.optimizers.SGD(lr=0.1)),
])  # fmt: skip
def test_good_input_that_looks_odd(call):
    call(bad_inputs.env())


@pytest.mark.parametrize("column", ["text", "missing", "category"])
def test_pandas_columns_are_named(column):
    pandas = pytest.importorskip("pandas")
    e = bad_inputs.env()
    values = {"text": list("abcdefghij"), "missing": pandas.array([1, None] * 5, dtype="Int64"),
              "category": pandas.Categorical(list("ab") * 5)}[column]  # fmt: skip
    frame = pandas.DataFrame({"a": e.x[:, 0], "b": e.x[:, 1], "c": e.x[:, 2], "odd": values})
    with pytest.raises((TypeError, ValueError), match="'odd'"):
        e.fit(frame)


def test_scipy_sparse_is_refused():
    sparse = pytest.importorskip("scipy.sparse")
    e = bad_inputs.env()
    with pytest.raises(TypeError, match="toarray"):
        e.fit(sparse.csr_matrix(e.x))
