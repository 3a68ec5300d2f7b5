"""Data that the core recognises at one look are what the long way finds, and nothing else is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import bpcore as bp
from bpcore.data.plain import Plain

from .helpers import support

L = bp.layers
N = 6
LOSSES = {  # outputs and the last activation
    "mse": (2, None),
    "mae": (1, None),
    "cross_entropy": (3, None),
    "binary_cross_entropy": (1, None),
    "poisson": (2, "softplus"),
    "kl_divergence": (3, "softmax"),
    "hinge": (1, "tanh"),
    "gaussian_nll": (2, None),
}


def model_with(loss, width, dtype="float32"):
    end = L.Dense(width, LOSSES.get(loss, (0, None))[1] if isinstance(loss, str) else None)
    model = bp.Sequential([bp.Input((3,)), end], seed=0, dtype=dtype)
    model.compile("sgd", loss)
    return model


def variants(plain):
    """An array as users bring it: whole, cut, turned, of other dtypes, with flaws."""
    yield plain
    yield np.repeat(plain, 2, axis=0)[::2]
    yield np.concatenate([plain, plain])[:N]
    yield np.asfortranarray(plain)
    yield plain.astype(plain.dtype.newbyteorder())
    yield plain.tolist()
    yield plain[:-1]
    yield plain[:0]
    yield plain[..., None]
    yield plain.astype(object)
    yield plain.view(np.recarray) if plain.ndim else plain
    for dtype in ("f2", "f4", "f8", "i1", "i4", "i8", "u1", "?"):
        yield plain.astype(dtype)
    for bad in (np.nan, np.inf, -1.0, 1.5, 7.0, 1e300):
        flawed = plain.astype("f8")
        flawed.flat[-1] = bad
        yield flawed
        with np.errstate(over="ignore", invalid="ignore"):
            yield flawed.astype("f4")
            yield flawed.astype("i8")


def outcome(model, *given):
    """What a look at the data ends with: arrays, or the words of an error."""
    try:
        with np.errstate(invalid="ignore"):
            item = model._read(*given)
    except (ValueError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return item


def same(a, b):
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    assert [labels for _, labels in a.ys] == [labels for _, labels in b.ys]
    assert (a.n, a.form, a.valid, a.lengths) == (b.n, b.form, b.valid, b.lengths)
    pairs = [*zip(a.xs, b.xs, strict=True)]
    pairs += [(s, t) for (s, _), (t, _) in zip(a.ys, b.ys, strict=True)]
    pairs += [(s, t) for s, t in zip(a.ws, b.ws, strict=True) if t is not None]
    for s, t in pairs:
        assert s.dtype == t.dtype and s.shape == t.shape
        assert support.same_bits(np.ascontiguousarray(s), np.ascontiguousarray(t))
    assert list(a.largest) == list(b.largest)
    return True


@pytest.fixture
def slowly(monkeypatch):
    """Calls with nothing recognised at one look."""

    def run(call, *given):
        with monkeypatch.context() as patch:
            patch.setattr(bp.data.signature.Signature, "_plain_inputs", lambda self, x: None)
            patch.setattr(Plain, "data", lambda self, x, y: None)
            return call(*given)

    return run


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_ways_give_the_same_arrays_or_the_same_words(loss, dtype, rng, slowly):
    width, model = LOSSES[loss][0], model_with(loss, LOSSES[loss][0], dtype)
    x = rng.normal(size=(N, 3)).astype("f4")
    ys = [rng.random((N, width)).astype("f4"), np.arange(N) % max(2, width), np.ones((N, 1), "f4")]
    cases = [(x, y) for whole in ys for y in variants(whole)]
    cases += [(other, ys[0]) for other in variants(x)]
    recognised = 0
    for given, y in cases:
        expected = slowly(outcome, model, given, y)
        for known in (False, True):  # that such data have passed all checks
            plain = model._engine.signature.plain
            if plain is not None and plain.targets is not None:
                plain.whole = known
            found = outcome(model, given, y)
            assert same(found, expected), (given, y, found, expected)
        recognised += model._engine.signature._plain_inputs(given) is not None
    assert recognised > len(cases) / 2


def test_weights_and_several_ends(rng, slowly):
    a, b = bp.Input((2,), name="a"), bp.Input((3,), name="b")
    h = L.Concatenate()([a, b])
    model = bp.Model([a, b], [L.Dense(2, name="p")(h), L.Dense(3, name="q")(h)], seed=0)
    model.compile("sgd", ["mse", "cross_entropy"])
    xs = [rng.normal(size=(N, 2)), rng.normal(size=(N, 3)).astype("f4")]
    ys = [rng.normal(size=(N, 2)), np.arange(N) % 3]
    weights = [None, np.arange(N), {"q": np.arange(N)}, np.full(N, np.nan), -np.ones(N)]
    forms = [list, tuple, lambda parts: dict(zip("ab", parts, strict=True)), lambda p: p[:1]]
    for form, w in itertools.product(forms, weights):
        for y in (ys, tuple(ys), {"p": ys[0], "q": ys[1]}, ys[::-1], ys[:1]):
            given = form(xs), y, w
            assert same(outcome(model, *given), slowly(outcome, model, *given)), given


def test_a_view_of_weights_is_copied_as_ever(slowly):
    model = model_with("mse", 3)
    kernel = model.weights[0].value
    for way in (outcome, lambda *given: slowly(outcome, *given)):
        item = way(model, kernel, kernel.copy())
        assert not np.shares_memory(item.xs[0], kernel)
        item = way(model, kernel.copy(), kernel[:, ::-1])
        assert not np.shares_memory(item.ys[0][0], kernel)


def test_other_losses_are_seen_at_once():
    model = model_with("mse", 3)
    x, labels = np.ones((N, 3), "f4"), np.arange(N) % 3
    values = np.full((N, 3), -1.0, "f4")
    assert not model._read(x, values).ys[0][1]
    model.compile("sgd", "cross_entropy")
    assert model._read(x, labels).ys[0][1]
    with pytest.raises(ValueError, match="-1"):
        model._read(x, values)
    model.compile("sgd", "binary_cross_entropy")
    with pytest.raises(ValueError, match="binary_cross_entropy expects targets in"):
        model._read(x, values)
    assert isinstance(model._engine.signature.plain, Plain)


def test_class_weights_of_a_loss_count_beside_plain_data(rng):
    loss = bp.losses.CrossEntropy()
    model = model_with(loss, 3)
    x, y = rng.normal(size=(N, 3)).astype("f4"), np.arange(N) % 3
    assert model._read(x, y).ws == [None]
    loss.class_weight = {0: 1.0, 1: 2.0, 2: 3.0}
    assert model._read(x, y).ws[0].tolist() == [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]


def test_metrics_that_take_no_labels_say_so_beside_plain_data():
    model = bp.Sequential([bp.Input((3,)), L.Dense(3, "softmax")], seed=0)
    model.compile("sgd", "cross_entropy", metrics=["mae"])
    with pytest.raises(ValueError, match="compares values, but y holds class labels"):
        model.train_on_batch(np.ones((N, 3), "f4"), np.arange(N) % 3)
