"""Random models as ONNX files, whose answers are compared with `predict`.

``python -m tests.fuzz.exports COUNT [FIRST]``; test_onnx.py takes a few of each kind.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
import warnings

import numpy as np

import bpcore as bp

from ..helpers import dags, exported, random_nets

L = bp.layers
CELLS = ("tanh", "sigmoid", "relu", "softsign", "hard_sigmoid", "silu", "linear")


def sequence(rng, dtype):
    """Layers of all kinds over steps, of any number or not, some of which do not count."""
    steps, features = int(rng.integers(3, 9)), int(rng.integers(1, 5))
    free, masked = rng.random() < 0.6, rng.random() < 0.5
    ids = masked and rng.random() < 0.5
    length = None if free else steps
    x = bp.Input((length,) if ids else (length, features))
    h = x
    if ids:
        h = L.Embedding(7, features, mask_zero=True)(x)
    elif masked:
        h = L.Masking(0.0)(x)
    for _ in range(rng.integers(1, 5)):
        h = step_layer(rng, masked)(h)
    outputs = [h]
    if rng.random() < 0.5:
        outputs.append(cell(rng, sequences=False)(h))
    pool = L.GlobalMaxPooling1D if rng.random() < 0.5 else L.GlobalAveragePooling1D
    outputs.append(L.Dense(3, "softmax")(pool()(h)))
    model = exported.drawn(bp.Model(x, outputs, dtype=dtype, seed=0), int(rng.integers(1000)))
    rows = int(rng.integers(1, 7))
    counts = np.ones((rows, steps), bool)
    if masked:
        counts = rng.random((rows, steps)) < 0.6
        counts[np.arange(rows), rng.integers(0, steps, rows)] = True
    if ids:
        return model, [rng.integers(1, 7, (rows, steps)) * counts]
    x = rng.normal(size=(rows, steps, features)) * counts[..., None]
    return model, [x.astype(dtype)]


def cell(rng, sequences=True, **told):
    kind = (L.SimpleRNN, L.LSTM, L.GRU)[rng.integers(3)]
    told |= {"return_sequences": sequences, "use_bias": bool(rng.random() < 0.8)}
    told |= {"activation": str(rng.choice(CELLS[:1] * 4 + CELLS)), "dropout": 0.1}
    if kind is L.GRU:
        told["reset_after"] = bool(rng.random() < 0.5)
    if kind is not L.SimpleRNN:
        told["recurrent_activation"] = "hard_sigmoid" if rng.random() < 0.3 else "sigmoid"
    return kind(int(rng.integers(1, 5)), recurrent_dropout=0.1, **told)


def step_layer(rng, masked):
    """One whose result has the same steps."""
    kinds = [
        lambda: cell(rng),
        lambda: cell(rng),
        lambda: L.Bidirectional(cell(rng), str(rng.choice(["concat", "sum", "mul", "ave"]))),
        lambda: L.TimeDistributed(L.Dense(int(rng.integers(1, 5)), "tanh")),
        lambda: L.Dense(int(rng.integers(1, 5)), "gelu_tanh"),
        lambda: L.LayerNormalization(),
        lambda: L.BatchNormalization(),
        lambda: L.Dropout(0.3),
    ]
    if not masked:
        kinds += [
            lambda: cell(rng, go_backwards=True),
            lambda: L.TappedDelay(tuple(int(k) for k in rng.choice(4, 2, replace=False))),
            lambda: L.Conv1D(3, int(rng.integers(1, 4)), padding="causal", dilation_rate=2),
            lambda: L.Conv1D(2, int(rng.integers(1, 4)), padding="same"),
        ]
    return kinds[rng.integers(len(kinds))]()


def image(rng, dtype):
    """Layers of all kinds over pixels, channels last or first, joined side by side."""
    size, channels = int(rng.integers(6, 11)), int(rng.integers(1, 4))
    told = {"data_format": "channels_first"} if rng.random() < 0.3 else {}
    shape = (channels, size, size + 1) if told else (size, size + 1, channels)
    x = bp.Input(shape)
    h = L.Rescaling(0.5, 0.1)(x) if rng.random() < 0.5 else x
    for _ in range(rng.integers(1, 6)):
        h = pixel_layer(rng, h, told)
    ends = [L.Flatten()(h), L.GlobalAveragePooling2D(**told)(h), L.GlobalMaxPooling2D(**told)(h)]
    model = bp.Model(x, [h, L.Dense(3)(L.Concatenate()(ends))], dtype=dtype, seed=0)
    exported.drawn(model, int(rng.integers(1000)))
    return model, [rng.normal(size=(int(rng.integers(1, 4)), *shape)).astype(dtype)]


def pixel_layer(rng, h, told):
    few, window = int(rng.integers(1, 5)), tuple(int(n) for n in rng.integers(1, 4, 2))
    padding = ("same", "valid", 1)[rng.integers(3)]
    strides, dilation = (2, 1) if rng.random() < 0.3 else (1, int(rng.integers(1, 3)))
    axis = 1 if told else -1
    small = min(h.shape[1:] if told else h.shape[:2]) < 5
    if small:
        padding, strides, dilation = "same", 1, 1
    places = {"strides": strides, "padding": padding, **told}

    def residual(h):
        return h + L.Conv2D(h.shape[0] if told else h.shape[-1], 3, padding="same", **told)(h)

    kinds = [
        L.Conv2D(few, window, dilation_rate=dilation, activation="relu", **places),
        L.DepthwiseConv2D(window, depth_multiplier=2, **places),
        L.SeparableConv2D(few, window, **places),
        L.BatchNormalization(axis=axis),
        L.Activation(str(rng.choice(["silu", "tanh", "leaky_relu", "relu6"]))),
        L.SpatialDropout2D(0.2, **told),
        L.ZeroPadding2D(((1, 0), (2, 1)), **told),
        L.UpSampling2D((1, 2), **told),
        residual,
    ]
    if not small:
        wide = {**told, "padding": "same" if padding == 1 else padding}
        kinds += [L.MaxPooling2D(2, **wide), L.AveragePooling2D((2, 3), strides=1, **wide),
                  L.Cropping2D(((1, 0), (0, 1)), **told)]  # fmt: skip
    return kinds[rng.integers(len(kinds))](h)


def graph(rng, dtype):
    g, model = dags.build(bp, int(rng.integers(10**6)), dtype)
    return model, [x.astype(dtype) for x in dags.data(g)[0]]


def chain(rng, dtype):
    net = random_nets.Net(int(rng.integers(10**6)), dtype=dtype)
    return net.model, [net.x.astype(dtype)]


KINDS = {"sequence": sequence, "image": image, "graph": graph, "chain": chain}


def check(kind, seed, folder):
    """One model in both dtypes; in float32 its own rounding counts, where it is large."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bp.errors.MismatchWarning)
        double, single = (
            KINDS[kind](np.random.default_rng([seed, *kind.encode()]), dtype)
            for dtype in ("float64", "float32")
        )
    double[0].set_weights(single[0].get_weights())
    exact = exported.outputs(double[0], single[1])
    for told, (model, xs) in (((None, 17), double), ((False, 17, exact), single)):
        try:
            exported.check(model, xs, folder / "net.onnx", *told)
        except Exception as error:
            raise AssertionError(f"{kind} {seed} in {model.dtype}: {error}") from error


def main(count, first=0):
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(int(first), int(first) + int(count)):
            for kind in KINDS:
                check(kind, seed, pathlib.Path(folder))
    print(f"{count} models of each kind answer alike in ONNX")


if __name__ == "__main__":
    main(*sys.argv[1:])
