"""A training by a rule is as any other: threads, files, resuming, freezing, sizes of batches."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import bpcore as bp

from .helpers.credit import RULES, Poison, data, net, of_rule, same, weights

L = bp.layers


# ---- as any other training -----------------------------------------------------------------------


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"dni"}))  # which is slow
def test_it_learns_and_evaluates(rule):
    (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    f, rate = ("relu", 0.008) if rule == "am" else ("tanh", 0.001)
    model = bp.Sequential([L.Dense(32, f), L.Dense(32, f), L.Dense(10)], seed=0)
    model.compile(bp.optimizers.Adam(rate), "cross_entropy", ["accuracy"], credit=RULES[rule]())
    model.fit(x, y, epochs=12, verbose=0)
    assert model.evaluate(xt, yt)["accuracy"] > 0.88
    step = model.train_on_batch(x[:32], y[:32])
    assert np.isfinite(step["loss"])


@pytest.mark.parametrize("rule", RULES)
def test_same_bits_for_any_number_of_threads(rule):
    x, y = data(200)
    found = []
    for threads in (1, 2, 3):
        with bp.threads(threads, exact=True):
            model = net(RULES[rule](), dtype="float32")
            model.fit(x, y, batch_size=64, epochs=2, verbose=0)
            found.append(weights(model))
    assert same(found[0], found[1]) and same(found[0], found[2])


@pytest.mark.parametrize("rule", RULES)
def test_built_before_or_after_compile(rule):
    x, y = data()
    one = net(RULES[rule]())
    two = bp.Sequential([L.Dense(7, "tanh"), L.Dense(6, "sigmoid"), L.Dense(4, "softmax")],
                        seed=0, dtype="float64")  # fmt: skip
    two.compile(bp.optimizers.SGD(0.1, momentum=0.9), "cross_entropy", credit=RULES[rule]())
    assert two.credit_weights == []
    for model in (one, two):
        model.fit(x, y, epochs=2, verbose=0)
    assert same(weights(one), weights(two))


@pytest.mark.parametrize("rule", RULES)
def test_save_and_load(rule, tmp_path):
    x, y = data()
    model = net(RULES[rule](), optimizer=bp.optimizers.Adam(0.01))
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "m")
    loaded = bp.load_model(tmp_path / "m")
    assert same(weights(model), weights(loaded))
    told = [one.get_config()["compile"]["credit"] for one in (model, loaded)]
    assert told[0] == told[1]
    model.save_checkpoint(tmp_path / "c")
    going, copied = bp.load_checkpoint(tmp_path / "c"), copy.deepcopy(model)
    for one in (model, going, copied):
        one.fit(x, y, epochs=2, verbose=0)
    assert same(weights(model), weights(going)) and same(weights(model), weights(copied))


class Own(bp.credit.DirectFeedbackAlignment):
    """Of the user's."""

    def wire(self, net):
        super().wire(net)


@pytest.mark.parametrize("rule", [*RULES, "own"])
def test_kill_and_resume(rule, tmp_path):
    x, y = data(60)

    class Stop(Exception):
        pass

    def stop(batch, logs=None):
        if stop.left == 0:
            raise Stop
        stop.left -= 1

    def run(path, left):
        stop.left = left
        model = net({**RULES, "own": Own}[rule](), optimizer=bp.optimizers.Adam(0.01))
        watch = bp.callbacks.LambdaCallback(on_train_batch_end=stop)
        model.fit(x, y, batch_size=8, epochs=3, verbose=0, checkpoint=tmp_path / path,
                  checkpoint_every=1, callbacks=[watch])  # fmt: skip
        return weights(model)

    whole = run("whole", -1)
    with pytest.raises(Stop):
        run("killed", 11)
    assert same(run("killed", -1), whole)


@pytest.mark.parametrize("rule", RULES)
def test_a_wide_first_layer_and_columns_of_others(rule):
    """Its forward pass goes from thread to thread, those of the others are cut by columns."""
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 784)).astype(np.float32), rng.integers(0, 10, 40)
    for units in ((30, 20), (1030, 1024)):
        found = []
        for threads in (1, 2):
            with bp.threads(threads, exact=True):
                layers = [*(L.Dense(n, "tanh") for n in units), L.Dense(10)]
                model = bp.Sequential([bp.Input((784,)), *layers], seed=0)
                model.compile("sgd", "cross_entropy", credit=RULES[rule]())
                model.fit(x, y, batch_size=10, epochs=1, verbose=0)
                found.append(weights(model))
        assert same(*found)


@pytest.mark.parametrize("rule", RULES)
def test_of_one_layer_every_rule_is_backpropagation(rule):
    x, y = data()
    found = []
    for credit in (RULES[rule](), "backprop"):
        model = net(credit, layers=[L.Dense(4, "softmax")])
        model.fit(x, y, epochs=2, verbose=0)
        found.append(model.get_weights())
    assert same(*found)


@pytest.mark.parametrize("rule", RULES)
def test_frozen_layers_stay(rule):
    x, y = data()
    model = net(RULES[rule]())
    fixed = {w.name: w.value.copy() for w in model.credit_weights if not w.trainable}
    for layer in model.layers:
        layer.trainable = False
        before = layer.get_weights()
        model.fit(x, y, epochs=1, verbose=0)
        assert same(layer.get_weights(), before)
        layer.trainable = True
        model.fit(x, y, epochs=3, verbose=0)
        assert not same(layer.get_weights(), before)
    now = {w.name: w.value for w in model.credit_weights if not w.trainable}
    assert now.keys() == fixed.keys() and all(np.array_equal(now[k], fixed[k]) for k in now)


@pytest.mark.parametrize("change, what", [
    (lambda told, arrays: told["config"].update(scale="large"), "cannot be built"),
    (lambda told, arrays: told.update(class_name="Rule"), "cannot be built"),
    (lambda told, arrays: told["config"].update(of_rate=0.0), "cannot be built"),
    (lambda told, arrays: arrays.pop("credit/dense_1.kernel"), "missing"),
    (lambda told, arrays: arrays.update({"credit/more": np.ones(3)}), "not expected"),
    (lambda told, arrays: arrays.update({"credit/dense_1.kernel": np.ones((3, 3))}), "expected"),
    (lambda told, arrays: arrays["credit/dense_1.kernel"].fill(np.nan), "NaN"),
])  # fmt: skip
def test_files_that_do_not_fit(change, what, tmp_path):
    from bpcore.files import container

    net(bp.credit.FeedbackAlignment()).save(tmp_path / "m")
    content = container.read(str(tmp_path / "m"))
    document = {"model": content.document["model"]}
    arrays = {key: array.copy() for key, array in content.arrays.items()}
    change(document["model"]["config"]["compile"]["credit"], arrays)
    (tmp_path / "m").write_bytes(b"".join(container.pack(document, arrays, 1)))
    with pytest.raises(bp.FormatError, match=what):
        bp.load_model(tmp_path / "m")


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"am"}))  # whose codes go 1/B as far
def test_batches_of_any_size_weigh_as_they_should(rule):
    """A batch twice over has the same update: sizes of batches do not enter but as a mean."""
    x, y = data(8)
    one, two = net(RULES[rule]()), net(RULES[rule]())
    if rule == "dtp":
        for model in (one, two):  # its noise is of the sample
            model.compile("sgd", "cross_entropy", credit=bp.credit.DifferenceTargetPropagation(
                0.5, 0.0))  # fmt: skip
    found = of_rule(one, x, y), of_rule(two, np.repeat(x, 2, 0), np.repeat(y, 2))
    told = {"rtol": 1e-4, "atol": 1e-9} if rule == "hsic" else {"rtol": 1e-12, "atol": 1e-15}
    for name, g in found[0].items():
        np.testing.assert_allclose(found[1][name], g, err_msg=name, **told)


def test_any_number_of_steps():
    sequences, labels = [np.ones((3, 5)), np.ones((7, 5))], [np.zeros(3, int), np.ones(7, int)]
    for rule in RULES:
        model = bp.Sequential([bp.Input((None, 5)), L.Dense(6, "tanh"), L.Dense(4)], seed=0)
        if rule == "fa":
            model.compile("adam", "cross_entropy", credit=RULES[rule]())
            model.fit(sequences, labels, epochs=1, verbose=0)
            continue
        with pytest.raises(ValueError, match="a model of any number of steps"):
            model.compile("adam", "cross_entropy", credit=RULES[rule]())


def test_layers_that_are_added_later():
    x, y = data()
    model = bp.Sequential([L.Dense(4)], seed=0)
    model.compile("adam", "cross_entropy", credit=bp.credit.DirectFeedbackAlignment())
    model.fit(x, y, verbose=0)
    assert model.credit_weights == []
    model.add(L.Dense(5))
    model.fit(x, y, verbose=0)
    assert [w.shape for w in model.credit_weights] == [(4, 5)]
    model.add(L.Dense(6))
    model.fit(x, y, verbose=0)
    assert [w.shape for w in model.credit_weights] == [(4, 6), (5, 6)]


def test_a_file_without_the_rule(tmp_path):
    """With a loss in Python a file holds no compilation, and no weights of a rule."""
    model = net(bp.credit.FeedbackAlignment(), loss=Poison())
    model.save(tmp_path / "m")
    with pytest.warns(bp.errors.NotCompiledWarning):
        assert bp.load_model(tmp_path / "m").credit_weights == []


def test_a_file_with_a_rule_of_ones_own(tmp_path):
    model = net(Own())
    model.save(tmp_path / "m")
    with pytest.warns(bp.errors.NotCompiledWarning):
        loaded = bp.load_model(tmp_path / "m")
    assert same(loaded.get_weights(), model.get_weights()) and not loaded.compiled


def test_blocks_of_images():
    """Blocks may have any shape; feedback and modules see them as rows."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 6, 6, 2)), rng.integers(0, 3, 20)
    for rule in ("fa", "dfa", "cdni", "dni"):
        layers = [L.Conv2D(4, 3, activation="tanh"), L.Conv2D(3, 2, activation="tanh"), L.Flatten(),
                  L.Dense(3)]  # fmt: skip
        model = bp.Sequential([bp.Input((6, 6, 2)), *layers], seed=0)
        model.compile("adam", "cross_entropy", credit=RULES[rule]())
        before = model.evaluate(x, y)["loss"]
        model.fit(x, y, epochs=30, verbose=0)
        assert model.evaluate(x, y)["loss"] < before, rule


@pytest.mark.parametrize("rule", ["am", "hsic"])
def test_weights_of_samples_and_classes_that_a_rule_cannot_follow(rule):
    x, y = data(20)
    model, w = net(RULES[rule]()), np.ones(20)
    with pytest.raises(ValueError, match="takes all samples of a batch alike"):
        model.fit(x, y, sample_weight=w, verbose=0)
    with pytest.raises(ValueError, match="takes all samples of a batch alike"):
        model.fit(x, y, class_weight="balanced", verbose=0)
    model.train_on_batch(x, y)
    with pytest.raises(ValueError, match="takes all samples of a batch alike"):
        model.train_on_batch(x, y, sample_weight=w)
