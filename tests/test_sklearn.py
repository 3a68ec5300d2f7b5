"""scikit-learn's door: its checks, its numbers, what its users asked for besides."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest

import bpcore as bp

pytest.importorskip("sklearn")

from sklearn import neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from bpcore.sklearn import (
    Classifier,
    MLPClassifier,
    MLPRegressor,
    Regressor,
    from_sklearn,
    to_sklearn,
)

# Checks that need what is not installed, or a method that scikit-learn's own MLPClassifier lacks.
SKIPPED = {
    "check_array_api_input",
    "check_classifiers_multilabel_output_format_decision_function",
}


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def digits(dtype=np.float64):
    (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    return x.astype(dtype), y, xt.astype(dtype), yt


def build(n_outputs, seed):
    stack = [bp.layers.Dense(32, "relu"), bp.layers.Dense(n_outputs)]
    return bp.Sequential(stack, seed=seed, dtype="float64")


FULL = {"batch_size": None, "epochs": 150, "optimizer": bp.optimizers.Adam(1e-2)}


@pytest.mark.parametrize(
    "estimator",
    [
        MLPClassifier(max_iter=100),
        MLPRegressor(max_iter=100),
        Classifier(build, **FULL),
        Regressor(build, **FULL),
    ],
    ids=lambda e: type(e).__name__,
)
def test_scikit_learns_own_checks(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    bad = [
        (r["check_name"], str(r["exception"]))
        for r in results
        if r["status"] != ("skipped" if r["check_name"] in SKIPPED else "passed")
    ]
    assert len(results) > 50 and not bad, bad


@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adam"])
@pytest.mark.parametrize("task", ["classes", "two classes", "labels", "numbers", "several numbers"])
def test_losses_and_weights_are_scikit_learns(solver, task):
    """Full batches, so that the order of the rows does not matter: the same trajectory.

    Adam's epsilon is small here, because it stands behind the bias correction in bpcore, as in
    PyTorch, and before it in scikit-learn.
    For several numbers scikit-learn's line search is given a mean over outputs with the gradient of
    their sum; here value and gradient go together, so only the end is compared.
    """
    x, y, _, _ = digits()
    x = x[:300]
    y = {"classes": y[:300], "two classes": y[:300] > 4, "numbers": y[:300] / 10.0,
         "labels": np.stack([y[:300] > 4, y[:300] % 2 == 0], axis=1).astype(int),
         "several numbers": np.stack([y[:300] / 10.0, y[:300] % 3], axis=1)}[task]  # fmt: skip
    ours, theirs = (
        (MLPRegressor, neural_network.MLPRegressor)
        if "numbers" in task
        else (MLPClassifier, neural_network.MLPClassifier)
    )
    options = {"hidden_layer_sizes": (12, 7), "activation": "tanh", "max_iter": 8, "alpha": 0.3,
               "batch_size": 300, "random_state": 3, "learning_rate_init": 0.01}  # fmt: skip
    options |= {"solver": solver, "epsilon": 1e-14}
    a, b = ours(**options).fit(x, y), theirs(**options).fit(x, y)
    assert a.n_iter_ == b.n_iter_ and a.t_ == b.t_
    if solver == "lbfgs" and task == "several numbers":
        return np.testing.assert_allclose(a.loss_, b.loss_, rtol=0.05)
    np.testing.assert_allclose(a.loss_, b.loss_, rtol=1e-6)
    if solver != "lbfgs":
        np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-6)
    for v, w in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        np.testing.assert_allclose(v, w, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(a.predict(x), b.predict(x), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("weighted", [False, True])
def test_sample_weights_and_class_weights(weighted):
    x, y, _, _ = digits()
    x, y = x[:200], y[:200] % 3
    options = {"solver": "lbfgs", "max_iter": 20, "random_state": 0, "hidden_layer_sizes": (8,)}
    weight = np.random.default_rng(0).integers(1, 4, 200) if weighted else np.ones(200)
    a = MLPClassifier(**options).fit(x, y, weight)
    b = neural_network.MLPClassifier(**options).fit(x, y, weight)
    np.testing.assert_allclose(a.loss_, b.loss_, rtol=1e-6)
    c = MLPClassifier(**options, class_weight={0: 1.0, 1: 2.0, 2: 5.0}).fit(x, y, weight)
    d = neural_network.MLPClassifier(**options).fit(x, y, weight * np.array([1.0, 2.0, 5.0])[y])
    np.testing.assert_allclose(c.loss_, d.loss_, rtol=1e-6)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_batches_in_order_take_scikit_learns_steps(solver):
    """Alpha is divided by the rows of a batch, not of all data."""
    x, y, _, _ = digits()
    x, y = x[:240], y[:240]
    options = {"hidden_layer_sizes": (9,), "activation": "tanh", "alpha": 2.0, "batch_size": 60,
               "shuffle": False, "max_iter": 3, "random_state": 1, "solver": solver,
               "learning_rate_init": 0.01, "epsilon": 1e-14}  # fmt: skip
    a, b = MLPClassifier(**options).fit(x, y), neural_network.MLPClassifier(**options).fit(x, y)
    for v, w in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        np.testing.assert_allclose(v, w, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-6)


def test_early_stopping_weighs_the_rows_it_watches():
    """Half of the rows have the wrong class and hardly any weight: the others alone are watched."""
    draw = np.random.default_rng(2)
    x = draw.normal(size=(600, 3))
    right, counts = (x[:, 0] > 0).astype(int), draw.random(600) > 0.5
    net = MLPClassifier((8,), early_stopping=True, random_state=0, learning_rate_init=0.02)
    net.fit(x, np.where(counts, right, 1 - right), np.where(counts, 1.0, 1e-9))
    assert net.best_validation_score_ > 0.9 and net.score(x, right) > 0.9


def test_lbfgs_sums_over_blocks_of_sparse_rows(monkeypatch):
    """In blocks of unlike size: the minimum of all rows at once, with weights and penalty."""
    sparse = pytest.importorskip("scipy.sparse")
    from bpcore.sklearn import data

    x, y, _, _ = digits()
    x, y = x[:150], y[:150] % 3
    weight = np.random.default_rng(0).integers(1, 4, 150)
    options = {"solver": "lbfgs", "max_iter": 15, "random_state": 0, "hidden_layer_sizes": (8,),
               "alpha": 0.5}  # fmt: skip
    monkeypatch.setattr(data, "BLOCK", 64)
    a = MLPClassifier(**options).fit(sparse.csr_matrix(x), y, weight)
    b = neural_network.MLPClassifier(**options).fit(x, y, weight)
    np.testing.assert_allclose(a.loss_, b.loss_, rtol=1e-6)
    np.testing.assert_allclose(a.coefs_[0], b.coefs_[0], rtol=1e-3, atol=1e-6)


def test_stopping_rules_and_curves():
    x, y, _, _ = digits()
    for options in ({"tol": 1e-2}, {"early_stopping": True, "tol": 1e-3},
                    {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.1}):  # fmt: skip
        net = MLPClassifier((16,), max_iter=300, random_state=0, n_iter_no_change=3, **options)
        net.fit(x, y)
        assert net.n_iter_ < 300 and len(net.loss_curve_) == net.n_iter_
        if options.get("early_stopping"):
            assert net.best_loss_ is None and len(net.validation_scores_) == net.n_iter_
            assert max(net.validation_scores_) == net.best_validation_score_
        else:
            assert net.best_loss_ == min(net.loss_curve_) and net.validation_scores_ is None
    with pytest.warns(ConvergenceWarning):
        MLPClassifier((4,), max_iter=2).fit(x, y)


def test_a_validation_set_of_the_users_own():
    x, y, xt, yt = digits()
    net = MLPClassifier((16,), max_iter=200, random_state=0, n_iter_no_change=3)
    net.fit(x, y, X_val=xt, y_val=yt)
    assert net.n_iter_ < 200 and net.score(xt, yt) == net.best_validation_score_
    with pytest.raises(ValueError, match="together"):
        net.fit(x, y, X_val=xt)


def test_a_validation_set_is_checked_like_the_rows_to_train_on():
    pd = pytest.importorskip("pandas")
    x, y, xt, yt = digits()
    names = [f"p{i}" for i in range(64)]
    frame, test = pd.DataFrame(x, columns=names), pd.DataFrame(xt, columns=names)
    net = MLPClassifier((4,), max_iter=2)
    gone = xt.copy()
    gone[3, 1] = np.nan
    for data, xv, yv, words in (
        (x, gone, yt, "NaN"),
        (x, xt[:, :5], yt, "64 features"),
        (x, xt[:9], yt, "inconsistent numbers"),
        (frame, test[names[::-1]], yt, "feature names"),
        (x, xt, yt + 1, "y_val has classes"),
    ):
        with pytest.raises(ValueError, match=words):
            net.fit(data, y, X_val=xv, y_val=yv)
    with pytest.raises(ValueError, match="y_val has 1 outputs, expected 2"):
        MLPRegressor().fit(x, np.stack([y, y], axis=1), X_val=xt, y_val=yt)


def test_partial_fit_stops_early_on_rows_of_the_users_own():
    x, y, xt, yt = digits()
    net = MLPClassifier((16,), early_stopping=True, n_iter_no_change=2, tol=0.02, random_state=0)
    for calls in range(1, 60):  # noqa: B007
        net.partial_fit(x, y, classes=np.arange(10), X_val=xt, y_val=yt)
        if net.stopped_:
            break
    assert 3 < calls < 59 and len(net.validation_scores_) == calls
    assert net.score(xt, yt) == net.best_validation_score_ == max(net.validation_scores_)
    with pytest.raises(ValueError, match="without rows to watch"):
        net.partial_fit(x, y)


def test_warm_start_keeps_the_optimizers_state():
    x, y, _, _ = digits()
    options = {
        "hidden_layer_sizes": (8,),
        "random_state": 0,
        "shuffle": False,
        "batch_size": len(x),
    }
    once = MLPClassifier(**options, max_iter=6).fit(x, y)
    twice = MLPClassifier(**options, max_iter=3, warm_start=True).fit(x, y).fit(x, y)
    assert twice.n_iter_ == 3 and twice.t_ == once.t_
    np.testing.assert_allclose(once.coefs_[0], twice.coefs_[0], rtol=1e-9)


def test_what_scikit_learns_users_were_refused():
    x, y, xt, yt = digits(np.float32)
    seen = []
    look = bp.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    net = MLPClassifier((32, 16), ["relu", "gelu"], dropout=[0.1, 0.0], batch_norm=True,
                        max_iter=40, callbacks=[look], n_threads=1, random_state=0,
                        learning_rate_init=0.01)  # fmt: skip
    net.fit(x, y)
    assert net.score(xt, yt) > 0.9 and seen == list(range(40))
    assert (
        all(w.dtype == np.float32 for w in net.coefs_) and net.predict_proba(xt).dtype == np.float32
    )
    line = np.linspace(-1, 1, 200)[:, None]
    target = line[:, 0] ** 2
    for loss in ("mae", "huber", bp.losses.LogCosh()):
        net = MLPRegressor(loss, (32,), max_iter=200, learning_rate_init=0.01, random_state=0)
        assert net.fit(line, target).score(line, target) > 0.9
    with pytest.raises(ValueError, match="class_weight"):
        MLPClassifier(class_weight={0: 2.0}).fit(x[:20], np.eye(2, dtype=int)[y[:20] % 2])
    with pytest.raises(ValueError, match="one for each of the 2"):
        MLPClassifier((4, 4), ["relu"]).fit(x, y)
    for bad in ({"solver": "newton"}, {"alpha": -1.0}, {"batch_size": 0}, {"max_iter": 0},
                {"hidden_layer_sizes": (0,)}, {"learning_rate": "warm"}):  # fmt: skip
        with pytest.raises(ValueError):
            MLPClassifier(**bad).fit(x[:20], y[:20])


def test_sparse_rows_train_as_dense_ones(monkeypatch):
    sparse = pytest.importorskip("scipy.sparse")
    x, y, _, _ = digits()
    from bpcore.sklearn import data

    largest = []
    plain = data.dense
    monkeypatch.setattr(data, "dense", lambda rows: largest.append(rows.shape[0]) or plain(rows))
    options = {"hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 3, "shuffle": False}
    a = MLPClassifier(**options).fit(x, y)
    b = MLPClassifier(**options).fit(sparse.csr_matrix(x), y)
    np.testing.assert_allclose(a.coefs_[0], b.coefs_[0], rtol=1e-9, atol=1e-12)
    assert max(largest) == 200  # a batch, never the whole
    np.testing.assert_allclose(a.predict_proba(x), b.predict_proba(sparse.csc_matrix(x)), rtol=1e-9)
    largest.clear()
    wrapped = Classifier(build, epochs=5, random_state=0).fit(sparse.csr_matrix(x), y)
    assert wrapped.score(sparse.csc_matrix(x), y) > 0.9 and max(largest) == data.BLOCK


def test_weights_that_are_assigned_count():
    x, y, _, _ = digits()
    net = MLPClassifier((8,), max_iter=2, random_state=0).fit(x, y)
    before = net.predict_proba(x[:5])
    net.coefs_[0] = net.coefs_[0] * 2
    changed = net.predict_proba(x[:5])
    assert not np.allclose(before, changed)
    z = (
        np.maximum(x[:5] @ net.coefs_[0] + net.intercepts_[0], 0) @ net.coefs_[1]
        + net.intercepts_[1]
    )
    e = np.exp(z - z.max(axis=1, keepdims=True))
    np.testing.assert_allclose(changed, e / e.sum(axis=1, keepdims=True), rtol=1e-9)


def test_pickle_clone_pipeline_and_search():
    x, y, xt, yt = digits()
    net = MLPClassifier((16,), max_iter=10, random_state=0).fit(x, y)
    again = pickle.loads(pickle.dumps(net))
    assert np.array_equal(again.predict_proba(xt), net.predict_proba(xt))
    again.partial_fit(x, y)
    assert not np.array_equal(again.coefs_[0], net.coefs_[0])
    assert clone(net).get_params()["hidden_layer_sizes"] == (16,)
    pipe = make_pipeline(StandardScaler(), MLPClassifier(max_iter=100, random_state=0))
    grid = {"mlpclassifier__dropout": [0.0, 0.2], "mlpclassifier__class_weight": [None, "balanced"]}
    search = GridSearchCV(pipe, grid, cv=2).fit(x[:400], y[:400])
    assert search.best_score_ > 0.8 and search.score(xt, yt) > 0.8
    wrapped = GridSearchCV(Classifier(build), {"epochs": [1, 20]}, cv=2).fit(x[:400], y[:400])
    assert wrapped.best_params_ == {"epochs": 20}


def test_moving_between_scikit_learn_and_bpcore_is_exact():
    x, y, xt, _ = digits()
    for theirs, ours, target in (
        (neural_network.MLPClassifier, MLPClassifier, y),
        (neural_network.MLPClassifier, MLPClassifier, np.array(["a", "b"])[y % 2]),
        (neural_network.MLPRegressor, MLPRegressor, y / 10),
    ):
        old = theirs(hidden_layer_sizes=(9, 5), max_iter=4, random_state=1).fit(x, target)
        new = from_sklearn(old)
        assert isinstance(new, ours)
        back = to_sklearn(new)
        for a, b, c in zip(old.coefs_ + old.intercepts_, new.coefs_ + new.intercepts_,
                           back.coefs_ + back.intercepts_, strict=True):  # fmt: skip
            assert np.array_equal(a, b) and np.array_equal(a, c)
        assert np.array_equal(back.predict(xt), old.predict(xt))
        if target.dtype.kind in "iU":
            assert np.array_equal(new.predict(xt), old.predict(xt))
        else:
            np.testing.assert_allclose(new.predict(xt), old.predict(xt), rtol=1e-12)
        new.partial_fit(x, target)
    with pytest.raises(ValueError, match="dropout"):
        to_sklearn(MLPClassifier((4,), dropout=0.5, max_iter=1).fit(x, y))
    with pytest.raises(TypeError, match="expected an MLPClassifier"):
        from_sklearn(StandardScaler())


def test_frames_keep_their_names():
    pd = pytest.importorskip("pandas")
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"])
    y = np.where(x["a"] > 0, "yes", "no")
    net = MLPClassifier((8,), solver="lbfgs", random_state=0).fit(x, y)
    assert list(net.feature_names_in_) == ["a", "b"] and set(net.predict(x)) == {"yes", "no"}
    with pytest.raises(ValueError, match="feature names"):
        net.predict(x[["b", "a"]])


def test_a_model_given_to_classifier_stays_as_it_was():
    x, y, _, _ = digits()
    model = build(10, 0)
    model.build((64,))
    before = model.get_weights()
    made = Classifier(model, epochs=2).fit(x, y)
    assert made.model_ is not model and not model.compiled
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    with pytest.raises(TypeError, match="made"):
        Classifier(lambda: 3).fit(x, y)


def test_weights_assigned_by_hand_are_taken_all_or_none():
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    model = MLPClassifier(hidden_layer_sizes=(4,), max_iter=2, warm_start=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)
        before = model.model_.get_weights()
        model.coefs_[0] = np.ones((3, 4))
        model.intercepts_[1] = np.ones(7)
        with pytest.raises(ValueError, match="7"):
            model.fit(x, y)
    for found, expected in zip(model.model_.get_weights(), before, strict=True):
        assert (found == expected).all()


def test_the_judge_holds_bpcores_estimators():
    """A few of scikit-learn's own tests; all of them: ``nox -s sklearn``."""
    from .judges import sklearn_mlp as judge

    assert judge.MLPClassifier is MLPClassifier and judge.MLPRegressor is MLPRegressor
    judge.test_alpha()
    judge.test_partial_fit_unseen_classes()
    judge.test_mlp_warm_start_no_convergence(MLPRegressor, "sgd")
    assert all(hasattr(judge, name) for name in judge.NOT_APPLICABLE)


def test_the_bar_shows_in_place_of_lines(capsys):
    x, y, _, _ = digits()
    MLPClassifier((4,), max_iter=2, verbose="bar").fit(x, y)
    told = capsys.readouterr()
    assert "100%" in told.err and "Iteration" not in told.out


def test_threads_do_not_multiply_with_joblibs():
    joblib = pytest.importorskip("joblib")
    x, y, _, _ = digits()
    seen = []

    def fit(n_threads):
        look = bp.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: seen.append(bp.get_num_threads())
        )
        MLPClassifier((8,), max_iter=1, callbacks=[look], n_threads=n_threads).fit(x, y)

    with bp.threads(2):
        fit(None)
    for n_threads in (None, 2):
        jobs = [joblib.delayed(fit)(n_threads) for _ in range(2)]
        joblib.Parallel(n_jobs=2, backend="threading")(jobs)
    assert seen == [2, 1, 1, 2, 2]


def test_estimators_in_threads_leave_the_number_of_threads_as_it_was():
    """One begins before another ends, in every order of beginnings and ends."""
    from bpcore.sklearn.limits import limited

    with bp.threads(5):
        for order in ((0, 1), (1, 0)):
            blocks = [limited(3), limited(2)]
            for block in blocks:
                block.__enter__()
            assert bp.get_num_threads() == 2
            for k in order:
                blocks[k].__exit__(None, None, None)
            assert bp.get_num_threads() == 5
        with limited(None):
            assert bp.get_num_threads() == 5


@pytest.mark.parametrize("labels", [
    ["b"], ["b", "a"], ["c", "a", "b"], [3, 1, 2], [True, False], [0.0, 1.0], [-1, 7],
], ids=str)  # fmt: skip
def test_targets_are_those_of_scikit_learns_binarizer(labels):
    """Without its checks of every label, which take longer than an epoch of a small table."""
    from sklearn.preprocessing import LabelBinarizer

    y = np.array(labels)[np.random.default_rng(0).integers(0, len(labels), 40)]
    y[: len(labels)] = labels
    net = MLPClassifier((2,), max_iter=1)
    found = net._targets(y, True, False)
    assert found.dtype == bool
    assert np.array_equal(found, LabelBinarizer().fit_transform(y).astype(bool))
    if len(labels) > 2:  # a loss of labels and one of indicators are the same
        x = np.random.default_rng(1).normal(size=(40, 3))
        a = MLPClassifier((4,), max_iter=3, random_state=0).fit(x, y)
        b = MLPClassifier((4,), max_iter=3, random_state=0, loss="cross_entropy").fit(x, y)
        assert np.array_equal(a.coefs_[0], b.coefs_[0]) and a.loss_curve_ == b.loss_curve_


def test_a_generator_as_random_state():
    x, y, _, _ = digits()
    a, b = (
        MLPClassifier((8,), max_iter=2, random_state=np.random.default_rng(3)).fit(x, y)
        for _ in range(2)
    )
    assert np.array_equal(a.coefs_[0], b.coefs_[0])
    assert not np.array_equal(a.coefs_[0], a.fit(x, y).coefs_[0])  # the generator goes on
    state = np.random.default_rng(3)
    assert clone(Classifier(build, epochs=1, random_state=state)).fit(x, y).score(x, y) > 0


def test_training_beside_scikit_learns_own_threads(tmp_path):
    """One order of imports; all of them, torch and lightgbm: ``nox -s neighbours``."""
    from .judges import neighbours

    before, after = neighbours.run(("sklearn", "bpcore"), str(tmp_path), False, turns=1)
    assert before > 0 and after > 0
    with pytest.raises(RuntimeError, match="no_such_library"):
        neighbours.run(("no_such_library",), str(tmp_path), False)


@pytest.mark.parametrize("option", [{"dropout": 0.2}, {"batch_norm": True}])
def test_lbfgs_takes_no_layers_whose_loss_changes(option):
    x = np.linspace(-1, 1, 20)[:, None]
    with pytest.raises(ValueError, match=r"lbfgs.*one loss"):
        MLPRegressor(solver="lbfgs", **option).fit(x, x[:, 0])
