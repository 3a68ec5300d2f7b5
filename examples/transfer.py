"""Transfer: what was learned on the digits 0 to 4 makes 5 to 9 quicker to learn.

Four sigmoid layers under plain SGD wait long on a plateau before they learn anything; layers that
have been there before need not. (Where training from scratch takes a handful of epochs, as of a
relu net with Adam on such small images, there is nothing to be won.)
"""

import sys

import numpy as np

import bpcore as bp

L = bp.layers
DEPTH, TARGET = 4, 0.9  # accuracy on test digits that training is to reach


class Until(bp.callbacks.Callback):
    """End the fit at an accuracy on the validation data."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = logs["val_accuracy"] >= TARGET


def compiled(model, **options):
    optimizer = bp.optimizers.SGD(0.05, momentum=0.9)
    model.compile(optimizer, loss="cross_entropy", metrics=["accuracy"], **options)
    return model


def epochs_until(model, data, test, at_most):
    """Train until the target is reached; the number of epochs, and the accuracy."""
    history = model.fit(
        *data,
        batch_size=16,
        epochs=at_most,
        verbose=0,
        callbacks=[Until()],
        validation_data=test,
    )
    return len(history.epoch), history.history["val_accuracy"][-1]


def fresh(seed):
    base = [L.Dense(64, "sigmoid", name=f"base_{i}") for i in range(DEPTH)]
    return compiled(bp.Sequential([bp.Input((64,)), *base, L.Dense(5, name="head")], seed=seed))


def with_new_head(old, seed):
    """The layers of `old` below its head, frozen, under a new one."""
    base = old.layers[:-1]
    model = bp.Model(old.inputs, L.Dense(5, name="new_head")(base[-1].output), seed=seed)
    for layer in base:
        layer.trainable = False
    return compiled(model)


def unfreeze(model):
    """All layers learn, the old ones at half the rate."""
    model.trainable = True
    return compiled(model, parameter_groups={"base_*": {"learning_rate_factor": 0.5}})


def digits():
    """Images and labels of the digits 0 to 4, and of 5 to 9 with labels from 0; train and test."""
    (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    low = [(a[b < 5], b[b < 5]) for a, b in ((x, y), (xt, yt))]
    high = [(a[b >= 5], b[b >= 5] - 5) for a, b in ((x, y), (xt, yt))]
    return low, high


def main(quick):
    (source, source_test), (data, test) = digits()
    scratch, transferred = [], []
    for seed in range(1 if quick else 5):
        old = fresh(seed)
        before = epochs_until(old, source, source_test, at_most=200)
        alone = epochs_until(fresh(seed + 100), data, test, at_most=200)
        scratch.append(alone[0])

        model = with_new_head(old, seed + 100)
        held = model.get_weights()[:-2]
        head = epochs_until(model, data, test, at_most=3)
        assert all(map(np.array_equal, held, model.get_weights()))  # frozen is frozen
        both = epochs_until(unfreeze(model), data, test, at_most=200)
        transferred.append(head[0] + both[0])
        print(
            f"seed {seed}: 0 to 4 took {before[0]} epochs; 5 to 9 from scratch {alone[0]} to "
            f"{alone[1]:.1%}; by transfer {head[0]} of the head alone to {head[1]:.1%}, then "
            f"{both[0]} of all layers to {both[1]:.1%}"
        )
        assert min(before[1], alone[1], both[1]) >= TARGET
    print(
        f"epochs on 5 to 9 until {TARGET:.0%} are right: {np.mean(scratch):.1f} from scratch, "
        f"{np.mean(transferred):.1f} by transfer"
    )
    assert np.mean(transferred) < np.mean(scratch)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
