"""Synthetic gradients of the states that go over the ends of windows of truncated BPTT."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers import checkpoint_runs
from .helpers.credit import same, weights

L = bp.layers
SUM = "sum"  # losses of windows add up to that of the sequence
KINDS = {
    "simple_rnn": [L.SimpleRNN],
    "lstm": [L.LSTM],
    "gru": [L.GRU],
    "two": [L.SimpleRNN, L.LSTM],
}
UNITS, STEPS, WINDOW = 8, 7, 3


def rule(**options):
    return bp.credit.SyntheticGradients(context=False, **options)


def net(credit, kinds, rate=1e-7, dtype="float64", seed=0, **options):
    hidden = [kind(UNITS, return_sequences=True, **options) for kind in kinds]
    model = bp.Sequential([bp.Input((None, 3)), *hidden, L.Dense(2)], seed=seed, dtype=dtype)
    loss = bp.losses.MeanSquaredError(reduction=SUM)
    model.compile(bp.optimizers.SGD(rate), loss, credit=credit)
    return model


def data(n=2, steps=STEPS, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, steps, 3)), rng.normal(size=(n, steps, 2))


def fit(model, x, y, window=WINDOW, **options):
    model.fit(x, y, bptt=window, batch_size=len(x), shuffle=False, verbose=0, **options)


def by_states(model, kinds):
    """The same net with the states as inputs and outputs of its own."""
    x = bp.Input((None, 3))
    sizes = [2 if kind is L.LSTM else 1 for kind in kinds]
    given = [[bp.Input((UNITS,)) for _ in range(n)] for n in sizes]
    ends, y = [], x
    for kind, states in zip(kinds, given, strict=True):
        y, *end = kind(UNITS, return_sequences=True, return_state=True)(y, initial_state=states)
        ends += end
    flat = [s for states in given for s in states]
    twin = bp.Model([x, *flat], [L.Dense(2)(y), *ends], dtype="float64")
    twin.set_weights(model.get_weights())
    twin.compile("sgd")
    return twin, len(flat)


def at_windows(twin, count, x, y, mask, window=WINDOW):
    """By window the states in which it begins, and by sample the gradient for them of all losses
    from there on, each a list by state."""
    found, name = [], twin.inputs[0].name
    zeros = [np.zeros((len(x), UNITS))] * count
    for at in range(0, x.shape[1], window):
        states = zeros
        if at:
            _, *states = twin.predict([x[:, :at], *zeros], mask={name: mask[:, :at]})
        some = mask[:, at:] | ~mask[:, at:].any(1, keepdims=True)  # a row needs a step that counts
        p, *ends = twin.forward([x[:, at:], *states], training=True, mask={name: some})
        dy = 2 * (p - y[:, at:]) * mask[:, at:, None]
        dx = twin.backward([dy, *(np.zeros_like(e) for e in ends)], parameters=False)
        found.append((states, dx[1:]))
    return found


def teach(model, kinds, found, counts, n):
    """Linear modules that are right at the ends of all windows, for samples that go on."""
    at = 0
    for k, kind in enumerate(kinds):
        own = slice(at, at + (2 if kind is L.LSTM else 1))
        at = own.stop
        s, g = (
            np.concatenate(
                [
                    np.hstack(pair[part][own])[c]
                    for pair, c in zip(found[1:], counts[1:], strict=True)
                ]
            )
            for part in (0, 1)
        )
        kernel, bias = model.credit_weights[2 * k : 2 * k + 2]
        one = np.hstack([s, np.ones((len(s), 1))])
        solution = np.linalg.lstsq(one, n * g, rcond=None)[0]
        assert np.abs(one @ solution - n * g).max() < 1e-9
        kernel.value, bias.value = solution[:-1], solution[-1]


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_an_oracle_at_the_ends_of_windows_gives_the_gradient_of_the_whole_sequence(name, ragged):
    kinds, (x, y) = KINDS[name], data()
    counted = np.ones(x.shape[:2], bool)
    if ragged:
        counted[1, 2:] = False  # its end, in the first window, is predicted to be worth something
        counted[0, 3:6] = False  # a window in which nothing counts
    model, plain = net(rule(), kinds), net("backprop", kinds)
    twin, count = by_states(model, kinds)
    found = at_windows(twin, count, x, y, counted)
    goes_on = [counted[:, at:].any(1) for at in range(0, STEPS, WINDOW)]
    teach(model, kinds, found, goes_on, len(x))
    options = {"mask": counted} if ragged else {}
    exact = plain.gradients(x, y, **options).parameters
    before = dict(zip((p.name for p in model.weights), model.get_weights(), strict=True))
    fit(model, x, y, **options)
    fit(plain, x, y, **options)
    for p, q in zip(model.weights, plain.weights, strict=True):
        g = (before[p.name] - p.value) / 1e-7
        cut = (before[p.name] - q.value) / 1e-7
        scale = np.abs(exact[p.name]).max()
        np.testing.assert_allclose(g, exact[p.name], rtol=0, atol=1e-5 * scale, err_msg=p.name)
        if "recurrent" in p.name:
            assert np.abs(cut - exact[p.name]).max() > 1e-2 * scale


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("hidden", [(), (4,)])
@pytest.mark.parametrize("name", KINDS)
def test_modules_that_begin_as_zero_are_truncated_backpropagation_bit_for_bit(
    name, hidden, optimizer
):
    """Until the first one has learned, in the second window, and is asked, in the second batch."""
    (x, y), found = data(5), []
    for credit in ("backprop", rule(hidden=hidden)):
        model = net(credit, KINDS[name], dtype="float32")
        model.compile(optimizer, "mse", credit=credit)
        fit(model, x, y)
        found.append([w.copy() for w in model.get_weights()])
        fit(model, x, y)
        found.append(model.get_weights())
    assert same(found[0], found[2]) and not same(found[1], found[3])


def test_what_a_module_learns():
    """(2 / N) sum of (M(s) - N dL/ds) s^T over the samples that came from a window before and have
    something to come, L being the loss of the window behind; nothing of a first window."""
    (x, y), kinds, rate = data(4, 6), [L.GRU], 1e-7
    model = net(rule(), kinds, rate)
    twin, count = by_states(model, kinds)
    counted = np.ones((4, 6), bool)
    counted[3, 2:] = False
    (_, _), ((s,), (g,)) = at_windows(twin, count, x, y, counted)
    fit(model, x, y, mask=counted)
    kernel, bias = (w.value / rate for w in model.credit_weights)  # from zero, by -rate
    wrong = 2 * g[:3]  # -(0 - N g) 2 / N
    np.testing.assert_allclose(kernel, s[:3].T @ wrong, rtol=0, atol=1e-5 * np.abs(kernel).max())
    np.testing.assert_allclose(bias, wrong.sum(0), rtol=0, atol=1e-5 * np.abs(bias).max())


def test_what_comes_later_is_learned():
    """The last of six steps asks for the first input, and windows have two: with the gradient cut
    the first window learns nothing."""
    draw, scores = np.random.default_rng(0), []
    x = draw.choice([-1.0, 1.0], size=(64, 6, 1))
    x[:, 1:] = 0
    y, counts = np.repeat(x[:, :1], 6, axis=1), np.zeros((64, 6))
    counts[:, -1] = 1
    for credit in ("backprop", rule(module_learning_rate=0.05)):
        model = bp.Sequential(
            [bp.Input((None, 1)), L.SimpleRNN(4, return_sequences=True), L.Dense(1)], seed=3
        )
        model.compile(bp.optimizers.Adam(0.01), "mse", credit=credit)
        first = model.get_weights()[0].copy()
        model.fit(x, y, sample_weight=counts, bptt=2, batch_size=16, epochs=15, verbose=0)
        scores.append(np.abs(model.get_weights()[0] - first).max())
    assert scores[0] == 0 < 0.01 < scores[1]


def test_layers_that_are_stateful_are_cut_at_the_end_of_a_batch():
    """The states go on, and are seen by the module; no gradient is predicted there."""
    x, y = data(6, 4)
    found = []
    for credit in ("backprop", rule()):
        model = net(credit, [L.LSTM], rate=0.01, dtype="float32", stateful=True)
        model.fit(x, y, bptt=4, batch_size=3, shuffle=False, verbose=0)
        found.append(model.get_weights())
    assert same(*found)


def test_threads_change_no_bit():
    """In windows of enough work for as many as there are."""
    x, y = data(120)
    mask = np.arange(STEPS) < np.random.default_rng(2).integers(1, STEPS + 1, 120)[:, None]
    found = []
    for n in (1, 2, 3):
        with bp.threads(n, exact=True):
            hidden = L.LSTM(48, return_sequences=True, recurrent_dropout=0.2)
            model = bp.Sequential([bp.Input((None, 3)), hidden, L.Dense(2)], seed=0)
            model.compile("adam", "mse", credit=rule(hidden=(3,)))
            model.fit(x, y, mask=mask, bptt=WINDOW, batch_size=60, epochs=2, verbose=0)
            trainers = [engine.trainers.get("windows") for engine in model._engine.forms.values()]
            told = "".join(trainer.describe() for trainer, *_ in filter(None, trainers))
            assert told.count(f"threads at batch 60: {n}\n") == 2  # of three steps, and of one
        found.append(weights(model))
    assert same(found[0], found[1]) and same(found[0], found[2])


@pytest.mark.parametrize("name", ["lstm", "two"])
def test_kill_resume_save_and_load(name, tmp_path, monkeypatch):
    x, y = data(40)
    mask = np.arange(STEPS) < np.random.default_rng(2).integers(1, STEPS + 1, 40)[:, None]

    def run(path=None, dropped=0.2, optimizer="adam"):
        model = net(rule(hidden=(3,)), KINDS[name], dtype="float32", recurrent_dropout=dropped)
        model.compile(optimizer, "mse", credit=model._need_compilation().credit)
        saving = {"checkpoint": path, "checkpoint_every": 1} if path else {}
        told = {"mask": mask, "bptt": WINDOW, "batch_size": 16, "epochs": 2, "verbose": 0}
        model.fit(x, y, **told, **saving)
        return model

    whole = run()
    for saves in (2, 7):
        path = tmp_path / f"run{saves}.ckpt"
        assert checkpoint_runs.stopped_after(saves, monkeypatch, lambda p=path: run(path=p))
        assert same(weights(run(path=path)), weights(whole))
    whole = run(dropped=0.0, optimizer="sgd")
    whole.save(tmp_path / "m.safetensors")
    loaded = bp.load_model(tmp_path / "m.safetensors")
    assert same(weights(loaded), weights(whole)) and len(loaded.credit_weights) >= 4
    for model in (whole, loaded):
        fit(model, x, y)
    assert same(weights(loaded), weights(whole))


def test_windows_in_which_nothing_counts_are_bridged(tmp_path, monkeypatch):
    """If something counts behind them: the layer goes on in them, as its own input has no mask."""
    (x, y), beside = data(5, 12), np.ones((5, 12, 1))
    mask = {"beside": np.tile([True] * 3 + [False] * 3 + [True] * 3 + [False] * 3, (5, 1))}

    def run(credit, path=None):
        a, b = bp.Input((None, 3)), bp.Input((None, 1), name="beside")
        h = L.SimpleRNN(UNITS, return_sequences=True)(a)
        model = bp.Model([a, b], L.Dense(2)(L.Concatenate()([h, b])), seed=0)
        model.compile("adam", "mse", credit=credit)
        saving = {"checkpoint": path, "checkpoint_every": 1} if path else {}
        told = {"mask": mask, "bptt": 3, "batch_size": 5, "epochs": 2, "verbose": 0}
        model.fit([x, beside], y, **told, **saving)
        return model

    model, plain = run(rule()), run("backprop")
    updates = [m._need_compilation().optimizer.iterations for m in (model, plain)]
    assert updates == [2 * 3, 2 * 2]
    path = tmp_path / "run.ckpt"
    assert checkpoint_runs.stopped_after(5, monkeypatch, lambda: run(rule(), path))
    assert same(weights(run(rule(), path)), weights(model))


def test_gradients_and_predictions_are_backpropagations():
    x, y = data()
    model, plain = net(rule(), [L.GRU]), net("backprop", [L.GRU])
    for told in ({}, {"bptt": 3}, {"bptt": (4, 2)}):
        a, b = (m.gradients(x, y, **told).parameters for m in (model, plain))
        assert a and all(np.array_equal(g, b[name]) for name, g in a.items())
    assert np.array_equal(model.predict(x), plain.predict(x))
    assert model.evaluate(x, y) == plain.evaluate(x, y)


def with_layers(*layers):
    model = bp.Sequential([bp.Input((None, 3)), *layers, L.Dense(2)])
    model.compile("sgd", "mse", credit=rule())
    return model


def whole(call):
    x, y = data()
    return call(net(rule(), [L.LSTM]), x, y)


class Mine(L.SimpleRNN):
    def forward(self, x, training=False):
        return super().forward(x, training)


WHOLE = "train by fit\\(bptt=k\\)"
BAD = {
    "context": (lambda: net("synthetic_gradients", [L.LSTM]), "give context=False"),
    "backwards": (
        lambda: with_layers(L.LSTM(4, return_sequences=True, go_backwards=True)),
        "SyntheticGradients cannot carry LSTM 'lstm': it needs the whole sequence",
    ),
    "code of one's own": (
        lambda: with_layers(Mine(4, return_sequences=True)),
        "SyntheticGradients cannot carry Mine 'mine': code of your own",
    ),
    "delays": (
        lambda: with_layers(L.TappedDelay([0, 1]), L.GRU(4, return_sequences=True)),
        "cannot carry TappedDelay 'tapped_delay': it carries inputs",
    ),
    "no windows": (lambda: whole(lambda m, x, y: m.fit(x, y, verbose=0)), WHOLE),
    "batches": (lambda: whole(lambda m, x, y: m.fit(iter([(x, y)]), steps_per_epoch=1, verbose=0)),
                WHOLE),
    "a batch": (lambda: whole(lambda m, x, y: m.train_on_batch(x, y)), WHOLE),
    "alignment": (lambda: whole(lambda m, x, y: m.alignment(x, y)), WHOLE),
    "windows that overlap": (
        lambda: whole(lambda m, x, y: m.fit(x, y, bptt=(3, 2), verbose=0)),
        "windows that overlap, bptt=\\(3, 2\\), expected bptt=k",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    make, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        make()
