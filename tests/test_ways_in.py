"""Batches from everywhere, into everything that takes data."""

from __future__ import annotations

import collections

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


class Numbered2(Numbered):
    def __getitem__(self, i):
        return X[:, :2], Y


class Again:
    """Batches that begin anew at each iter()."""

    def __iter__(self):
        return ((X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8))


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
    fitted, one = model(), {"epochs": 2, "validation_freq": 2, "verbose": 0}
    with pytest.raises(ValueError, match=r"validation_data.*3 epochs.*pass validation_steps"):
        fitted.fit(X, Y, validation_data=endless(), epochs=4, initial_epoch=1, verbose=0)
    assert not fitted.built and len(pulled) == 6
    fitted.fit(X, Y, validation_data=iter([(X, Y)]), **one)
    with pytest.raises(ValueError, match=r"validation_data gave no batch.*starts anew"):
        fitted.fit(X, Y, validation_data=iter([(X, Y)]), validation_steps=1, epochs=2, verbose=0)


def test_an_iterator_that_cannot_last_is_refused_before_training():
    fitted = model()
    with pytest.raises(ValueError, match=r"^x is an iterator.*2 epochs.*pass steps_per_epoch"):
        fitted.fit(iter([(X, Y)]), epochs=3, initial_epoch=1, verbose=0)
    assert not fitted.built
    with pytest.raises(ValueError, match=r"^x gave no batch in epoch 2.*starts anew"):
        fitted.fit(iter([(X, Y)]), epochs=2, steps_per_epoch=1, verbose=0)
    with pytest.raises(ValueError, match=r"validation y contains label [78]"):
        model().fit(X, Y, validation_data=iter([(X, Y + 7)]), verbose=0)


def test_every_validation_sees_the_same_batches():
    """Of what can be begun anew; Keras says so of validation_steps."""
    starts = []

    class Counted:
        def __iter__(self):
            starts.append(None)
            return iter([(X[k : k + 8] * (k + 1), Y[k : k + 8]) for k in range(0, 40, 8)])

    fitted = model()
    fitted.compile(bp.optimizers.SGD(1e-12), "cross_entropy")
    logs = fitted.fit(
        X, Y, epochs=3, validation_data=Counted(), validation_steps=2, verbose=0
    ).history["val_loss"]
    assert logs[0] == pytest.approx(logs[1], rel=1e-6) == pytest.approx(logs[2], rel=1e-6)
    assert len(starts) == 3
    one = fitted.evaluate(X[:8], Y[:8])["loss"], fitted.evaluate(9 * X[8:16], Y[8:16])["loss"]
    assert logs[0] == pytest.approx(np.mean(one), rel=1e-5)


def test_rows_in_a_batch_are_no_targets():
    """A list of two or three rows is a batch; so is a deque, which is no iterable of batches."""
    fitted = model()
    fitted.build((3,))
    for n in (1, 2, 3, 4):
        expected = fitted.predict(X[:n])
        for rows in (X[:n].tolist(), list(X[:n])):
            assert np.array_equal(fitted.predict(iter([rows])), expected)
            assert np.array_equal(fitted.predict(iter([(rows, Y[:n])])), expected)
            assert np.array_equal(fitted.predict(collections.deque(rows)), expected)
        assert np.array_equal(fitted.predict(iter([[X[:n], Y[:n]]])), expected)


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


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "int4"])
def test_extension_dtypes_get_the_right_advice(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    fitted = model()
    fitted.build((3,))
    x = X.astype(getattr(ml_dtypes, name))
    with pytest.raises(TypeError, match=rf"x has dtype {name};.*use x.astype\(np.float32\)$"):
        fitted.predict(x)
    fitted.predict(x.astype(np.float32))
    with pytest.raises(TypeError, match=r"dtype '\|V8';.*view\(\)$"):
        fitted.predict(np.zeros((4, 3), "V8"))


def test_validation_batches_are_looked_at_before_training():
    for batches in (iter([(X[:, :2], Y)]), [(X, Y + 7)].__iter__(), Numbered2()):
        fitted = model()
        with pytest.raises(ValueError, match="validation"):
            fitted.fit(X, Y, validation_data=batches, verbose=0)
        assert not fitted.built
    with pytest.raises(ValueError, match="validation_data gave no batch"):
        model().fit(X, Y, validation_data=iter([]), verbose=0)


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
    "door",
    [
        "fit",
        "predict",
        "call",
        "train_on_batch",
        "evaluate",
        "gradients",
        "layer",
        "adapt",
        "validation",
        "profile",
    ],
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
        "layer": lambda: fitted.layers[0](Sparse()),
        "adapt": lambda: bp.layers.Normalization().adapt(Sparse()),
        "validation": lambda: fitted.fit(X, Y, validation_data=(Sparse(), Y), verbose=0),
        "profile": lambda: fitted.profile(Sparse(), Y),
    }
    with pytest.raises(TypeError, match=r"use .*x.toarray\(\)"):
        calls[door]()
    with pytest.raises(TypeError, match=r"use .toarray\(\) of each"):
        fitted.predict([Sparse(), Sparse()])
