"""Transfer: what was learned on the digits 0 to 4 makes 5 to 9 quicker to learn."""

import sys

import numpy as np

import bpcore as bp

L = bp.layers
TARGET = 0.95  # accuracy on test digits that training is to reach


class Until(bp.callbacks.Callback):
    """End the fit at an accuracy on the validation data."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = logs["val_accuracy"] >= TARGET


def epochs_until(model, data, test, at_most):
    """Train until the target is reached; the number of epochs, and the accuracy."""
    until = [Until()]
    history = model.fit(
        *data, batch_size=16, epochs=at_most, verbose=0, callbacks=until, validation_data=test
    )
    return len(history.epoch), history.history["val_accuracy"][-1]


def fresh(seed, classes=5):
    hidden = [L.Dense(64, "relu", name="base_1"), L.Dense(32, "relu", name="base_2")]
    model = bp.Sequential([bp.Input((64,)), *hidden, L.Dense(classes, name="head")], seed=seed)
    model.compile(bp.optimizers.Adam(1e-3), loss="cross_entropy", metrics=["accuracy"])
    return model


def with_new_head(old, seed):
    """The layers of `old` up to the last but one, frozen, under a new head."""
    base = [old.get_layer("base_1"), old.get_layer("base_2")]
    for layer in base:
        layer.trainable = False
    model = bp.Model(old.inputs, L.Dense(5, name="new_head")(base[-1].output), seed=seed)
    model.compile(bp.optimizers.Adam(5e-3), loss="cross_entropy", metrics=["accuracy"])
    return model


def unfreeze(model):
    """All layers learn, the old ones at a tenth of the rate."""
    model.trainable = True
    model.compile(
        bp.optimizers.Adam(3e-3),
        loss="cross_entropy",
        metrics=["accuracy"],
        parameter_groups={"base_*": {"learning_rate_factor": 0.1}},
    )


def digits():
    """Images and labels of the digits 0 to 4, and of 5 to 9 with labels from 0; train and test."""
    (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    low = [(a[b < 5], b[b < 5]) for a, b in ((x, y), (xt, yt))]
    high = [(a[b >= 5], b[b >= 5] - 5) for a, b in ((x, y), (xt, yt))]
    return low, high


def main(quick):
    (source, source_test), (data, test) = digits()
    data = tuple(part[:200] for part in data)  # labels are dear
    scratch, transferred = [], []
    for seed in range(2 if quick else 5):
        old = fresh(seed)
        old.fit(*source, batch_size=32, epochs=20, verbose=0)
        first = old.evaluate(*source_test)["accuracy"]

        n, reached = epochs_until(fresh(seed + 100), data, test, at_most=100)
        scratch.append(n)

        held = [p.value.copy() for p in old.get_layer("base_1").weights]
        model = with_new_head(old, seed + 100)
        frozen, before = epochs_until(model, data, test, at_most=5)
        same = all(map(np.array_equal, held, (p.value for p in old.get_layer("base_1").weights)))
        assert same  # frozen is frozen
        tuned, after = 0, before
        if before < TARGET:
            unfreeze(model)
            tuned, after = epochs_until(model, data, test, at_most=100)
        transferred.append(frozen + tuned)
        print(
            f"seed {seed}: 0 to 4 at {first:.1%}; 5 to 9 from scratch {n} epochs to {reached:.1%}; "
            f"transferred {frozen} with a frozen base to {before:.1%}, then {tuned} to {after:.1%}"
        )
        assert min(reached, after) >= TARGET
    print(
        f"epochs to {TARGET:.0%} with {len(data[0])} labelled digits: "
        f"{np.mean(scratch):.1f} from scratch, {np.mean(transferred):.1f} by transfer"
    )
    assert np.mean(transferred) < np.mean(scratch)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
