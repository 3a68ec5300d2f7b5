"""Data on the way in: what fits without a split fits with one, and batches from everywhere."""

from __future__ import annotations

import collections
import importlib.util

import numpy as np
import pytest

import bpcore as bp

L = bp.layers
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 3)), RNG.integers(0, 2, 40)


def model():
    made = bp.Sequential([L.Dense(4, "relu"), L.Dense(2)], seed=0)
    made.compile("adam", "cross_entropy", metrics=["accuracy"])
    return made


class Numbered:
    """Batches by number, as Keras' Sequence."""

    def __init__(self):
        self.ends = 0

    def __len__(self):
        return 5

    def __getitem__(self, i):
        return X[i * 8 : i * 8 + 8], Y[i * 8 : i * 8 + 8]

    def on_epoch_end(self):
        self.ends += 1


class Again:
    """Batches that begin anew at each iter()."""

    def __iter__(self):
        return ((X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8))


CONTAINERS = {
    "lists": (lambda a: [list(r) for r in a], list),
    "tuples": (lambda a: tuple(tuple(r) for r in a), tuple),
    "lists of arrays": (list, list),
    "deques": (collections.deque, collections.deque),
    "arrays and a list": (lambda a: a, list),
}
if importlib.util.find_spec("pandas"):
    import pandas as pd

    CONTAINERS["pandas"] = (pd.DataFrame, pd.Series)
if importlib.util.find_spec("torch"):
    import torch

    CONTAINERS["torch"] = (torch.tensor, torch.tensor)
    CONTAINERS["lists of torch rows"] = (lambda a: list(torch.tensor(a)), torch.tensor)


@pytest.mark.parametrize("way", CONTAINERS)
def test_what_fits_without_a_split_fits_with_one(way):
    rows, labels = CONTAINERS[way]
    expected, found = model(), model()
    expected.fit(X, Y, sample_weight=np.ones(40), validation_split=0.25, verbose=0)
    weight = [1.0] * 40 if way == "lists" else collections.deque([1.0] * 40)
    found.fit(rows(X), labels(Y), sample_weight=weight, validation_split=0.25, verbose=0)
    for a, b in zip(expected.get_weights(), found.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_rows_in_errors_count_in_the_users_array():
    bad = X.copy()
    bad[35, 1] = np.nan
    with pytest.raises(ValueError, match=r"\[35, 1\]"):
        model().fit(bad, Y, validation_split=0.25, verbose=0)


@pytest.mark.parametrize("make", [Again, Numbered, lambda: iter([(X, Y)])])
def test_validation_and_evaluate_take_batches(make):
    fitted = model()
    found = fitted.fit(X, Y, validation_data=make(), verbose=0).history
    whole = fitted.evaluate(X, Y)
    assert found["val_loss"] == pytest.approx([whole["loss"]], rel=1e-6)
    assert found["val_accuracy"] == pytest.approx([whole["accuracy"]])
    assert fitted.evaluate(make())["loss"] == pytest.approx(whole["loss"], rel=1e-6)


def test_a_generator_gives_validation_steps_at_a_time():
    pulled = []

    def endless():
        while True:
            pulled.append(len(pulled))
            yield X[:8], Y[:8]

    found = model().fit(X, Y, validation_data=endless(), validation_steps=2, epochs=3, verbose=0)
    assert len(found.history["val_loss"]) == 3 and len(pulled) == 6
    with pytest.raises(ValueError, match=r"validation_data gave no batch.*validation_steps"):
        model().fit(X, Y, validation_data=iter([(X, Y)]), epochs=2, verbose=0)
    with pytest.raises(ValueError, match=r"validation y contains label [78]"):
        model().fit(X, Y, validation_data=iter([(X, Y + 7)]), verbose=0)


def test_predict_takes_batches_with_or_without_targets():
    fitted = model()
    fitted.build((3,))
    expected = fitted.predict(X)
    for batches in (
        iter([X[:5], X[5:]]),
        Numbered(),
        Again(),
        iter([(X[:5], Y[:5]), (X[5:], Y[5:])]),
    ):
        assert np.array_equal(fitted.predict(batches), expected)
    with pytest.raises(ValueError, match="no batch"):
        fitted.predict(iter([]))
    with pytest.raises(ValueError, match="leave out out"):
        fitted.predict(iter([X]), out=np.empty((40, 2), np.float32))


def test_batches_by_number_train_as_the_same_rows():
    a, b, batches = model(), model(), Numbered()
    a.fit(batches, epochs=2, verbose=0)
    b.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    assert all(np.array_equal(*pair) for pair in zip(a.get_weights(), b.get_weights(), strict=True))
    assert batches.ends == 2
    with pytest.raises(TypeError, match="leave y out"):
        model().fit(Numbered(), Y, verbose=0)


def test_a_batch_of_no_weight_does_not_end_a_fit():
    zero, one = np.zeros(8), np.ones(8)
    batches = [(X[:8], Y[:8], zero), (X[8:16], Y[8:16], one), (X[16:24], Y[16:24], zero)]
    a, b = model(), model()
    a.fit(iter(batches), verbose=0)
    b.fit(X[:24], Y[:24], sample_weight=np.concatenate([zero, one, zero]), batch_size=8,
          shuffle=False, verbose=0)  # fmt: skip
    assert all(np.array_equal(*pair) for pair in zip(a.get_weights(), b.get_weights(), strict=True))
    for call in (lambda: a.fit(X[:8], Y[:8], sample_weight=zero, verbose=0),
                 lambda: a.evaluate(X[:8], Y[:8], sample_weight=zero)):  # fmt: skip
        with pytest.raises(ValueError, match="sums to 0"):
            call()


def test_torch_data_sets_and_bfloat16_get_the_right_advice():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    with pytest.raises(TypeError, match="DataLoader"):
        model().fit(data, verbose=0)
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    fitted = model()
    fitted.fit(loader, validation_data=loader, verbose=0)
    assert fitted.evaluate(loader).keys() == {"loss", "accuracy"}
    with pytest.raises(TypeError, match=r"use x.float\(\)"):
        fitted.predict(torch.tensor(X).bfloat16())


class Sparse:
    """Looks like a matrix of scipy.sparse."""

    nnz = 3

    def toarray(self):
        return X

    def __len__(self):
        return 40

    def __getitem__(self, i):
        return self


@pytest.mark.parametrize(
    "door", ["fit", "predict", "call", "train_on_batch", "evaluate", "gradients"]
)
def test_sparse_rows_get_advice_from_every_door(door):
    fitted = model()
    fitted.build((3,))
    calls = {
        "fit": lambda: fitted.fit(Sparse(), Y, verbose=0),
        "predict": lambda: fitted.predict(Sparse()),
        "call": lambda: fitted(Sparse()),
        "train_on_batch": lambda: fitted.train_on_batch(Sparse(), Y),
        "evaluate": lambda: fitted.evaluate(Sparse(), Y),
        "gradients": lambda: fitted.gradients(Sparse(), Y),
    }
    with pytest.raises(TypeError, match=r"use x.toarray\(\)"):
        calls[door]()
