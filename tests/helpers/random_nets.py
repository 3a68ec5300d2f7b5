"""Random Sequential nets of all kinds of layers, and what must hold for each of them.

``python -m tests.helpers.random_nets COUNT [FIRST]`` checks that number of nets, and
test_random_nets.py a few. With ``digests`` as third argument it prints their bits instead, for a
comparison of processes.
"""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np

import bpcore as bp

from . import support

L = bp.layers
WIDTHS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 128, 129, 200)
BATCHES = (1, 2, 3, 5, 13, 14, 27, 28, 29, 127, 128, 129, 255, 256, 257, 300)
SMOOTH = ("linear", "tanh", "sigmoid", "gelu", "softplus", "silu")
THREADS = (2, 3, 8)


class Net:
    """A model, its data and its way of training, all from one seed; small: for differences."""

    def __init__(self, seed, small=False, dtype=None, **compiled):
        self.rng = rng = np.random.default_rng([77, seed])
        self.widths = WIDTHS[:7] if small else WIDTHS
        rank = int(rng.integers(1, 4))
        shape = [int(rng.integers(1, 5)) for _ in range(rank - 1)]
        if int(np.prod(shape)) > 6:
            shape[-1] = 1
        self.shape = (*shape, self.width())
        self.rows = int(rng.choice(BATCHES[:7] if small else BATCHES))
        self.dtype = dtype or str(rng.choice(["float32", "float64"]))
        self.batch = int(min(self.rows, rng.choice(BATCHES)))
        blocks = [self.block() for _ in range(rng.integers(2, 6))]
        if not small:  # enough work for several threads
            blocks.insert(int(rng.integers(0, len(blocks) + 1)), [L.Dense(130, "relu")])
        layers = [layer for block in blocks for layer in block]
        self.labels = rng.random() < 0.5
        self.units = int(rng.integers(2, 6))
        layers += [L.Flatten(), L.Dense(self.units, **self.bound())]
        self.model = bp.Sequential(layers, seed=seed, dtype=self.dtype)
        self.model.build(self.shape)
        for layer in layers:
            if isinstance(layer, L.BatchNormalization) and rng.random() < 0.3:
                layer.trainable = False
            for weight in layer.weights:
                if weight.local_name in ("gamma", "beta", "moving_mean", "alpha", "bias"):
                    weight.value = rng.normal(0.5, 0.5, size=weight.shape)
        options = {"accumulate_steps": int(rng.integers(1, 4))} if rng.random() < 0.3 else {}
        self.clip = 0.5 if rng.random() < 0.3 else None
        options = {"gradient_clip_norm": self.clip, **options, **compiled}
        self.loss = "cross_entropy" if self.labels else "mse"
        self.optimizer = str(rng.choice(["sgd", "adam", "nadam", "lion", "rmsprop"]))
        self.model.compile(self.optimizer, self.loss, **options)
        self.x = rng.normal(size=(self.rows, *self.shape)).astype(np.float32)
        self.y = (
            rng.integers(0, self.units, self.rows)
            if self.labels
            else rng.normal(size=(self.rows, self.units))
        )

    def width(self):
        return int(self.rng.choice(self.widths))

    def bound(self):
        """Perhaps a penalty and a constraint."""
        rng = self.rng
        R, C = bp.regularizers, bp.constraints
        some = {}
        if rng.random() < 0.4:
            some["kernel_regularizer"] = R.L1L2(0.01 * rng.random(), 0.1 * rng.random())
            some["bias_regularizer"] = R.L2(0.1)
        if rng.random() < 0.4:
            some["kernel_constraint"] = [C.MaxNorm(0.7), C.UnitNorm(), C.NonNeg()][rng.integers(3)]
        return some

    def block(self):
        """One layer or a few that belong together."""
        rng = self.rng
        rate, flag = float(rng.choice([0.0, 0.1, 0.5])), bool(rng.random() < 0.5)
        groups = int(rng.choice([1, -1]))
        kinds = [
            lambda: [L.Dense(self.width(), str(rng.choice(SMOOTH)), **self.bound())],
            lambda: [L.Dense(self.width(), str(rng.choice(SMOOTH)), use_bias=flag)],
            lambda: [L.BatchNormalization(scale=flag, momentum=0.5)],
            lambda: [L.BatchNormalization(center=flag, momentum=0.5)],
            lambda: [L.LayerNormalization(center=flag)],
            lambda: [L.RMSNormalization(epsilon=0.1)],
            lambda: [L.GroupNormalization(groups, scale=flag, epsilon=0.1)],
            lambda: [L.Dropout(rate)],
            lambda: [L.AlphaDropout(rate)],
            lambda: [L.GaussianDropout(rate)],
            lambda: [L.GaussianNoise(rate)],
            lambda: [L.PReLU(shared=flag)],
            lambda: [L.Swish(shared=flag)],
            lambda: [L.Scale(rng.normal(), shared=flag)],
            lambda: [L.Normalization(mean=rng.normal(), variance=rng.random() + 0.5)],
            lambda: [L.Normalization(rng.normal(), rng.random() + 0.5, invert=True)],
            self.tied,
        ]
        return kinds[rng.integers(len(kinds))]()

    def tied(self):
        first = L.Dense(self.width(), "tanh")
        return [first, L.Dropout(0.1), L.TiedDense(first, "tanh")]

    def results(self):
        """Bits of everything: gradients, two epochs, evaluation, prediction."""
        model = self.model
        found = model.gradients(self.x, self.y, wrt_inputs=True)
        h = model.fit(self.x, self.y, batch_size=self.batch, epochs=2, verbose=0)
        seen = model.evaluate(self.x, self.y, batch_size=60)
        numbers = np.array([found.loss, *h.history["loss"], seen["loss"]])
        return [numbers, found.inputs, *found.parameters.values(), *model.get_weights(),
                model.predict(self.x)]  # fmt: skip


def digest(seed, threads):
    with bp.threads(threads, exact=True):
        h = hashlib.sha256()
        for array in Net(seed).results():
            h.update(np.ascontiguousarray(array).tobytes())
    return h.hexdigest()[:20]


def same(a, b):
    return len(a) == len(b) and all(support.same_bits(p, q) for p, q in zip(a, b, strict=True))


def check_bits(seed):
    """Other threads, gradients written out, and rows alone: the same bits."""
    with bp.threads(1, exact=True):
        net = Net(seed)
        alone = net.results()
        assert all(np.isfinite(a).all() for a in alone), f"net {seed}: not finite"
        for rows in (slice(0, 1), slice(net.rows // 2, None)):
            part = net.model.predict(net.x[rows])
            assert support.same_bits(part, alone[-1][rows]), f"net {seed}: rows {rows}"
        x = net.x[:3].astype(net.dtype)
        assert support.same_bits(net.model(x), alone[-1][:3]), f"net {seed}: the call"
        assert support.same_bits(net.model(x[:, ...].copy(order="F")), alone[-1][:3])
    for threads in THREADS:
        with bp.threads(threads, exact=True):
            assert same(Net(seed).results(), alone), f"net {seed}: {threads} threads"
    if Net(seed).clip is None:
        with bp.threads(2, exact=True):  # a norm that nothing exceeds
            whole = Net(seed, gradient_clip_norm=1e30).results()
            assert same(whole, alone), f"net {seed}: materialised gradients"


def check_gradients(seed):
    """Differences of the loss, with the masks held."""
    net = Net(seed, small=True, dtype="float64")
    with bp.threads(1, exact=True):
        found = net.model.gradcheck(net.x, net.y)
    assert found.max_error <= 1e-7, f"net {seed}: {found}"


if __name__ == "__main__":
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    seeds = range(first, first + count)
    if sys.argv[3:] == ["digests"]:
        print(json.dumps([digest(seed, 2) for seed in seeds]))
        sys.exit(0)
    for seed in seeds:
        check_bits(seed)
        check_gradients(seed)
    print(f"{count} nets from {first}: no fault")
