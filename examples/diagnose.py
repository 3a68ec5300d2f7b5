"""Why does it not learn? Nine planted faults, each named by diagnose, and two healthy nets."""

import numpy as np

import bpcore as bp

L, optimizers = bp.layers, bp.optimizers
(x, y), _ = bp.datasets.load_digits(split=True)
rng = np.random.default_rng(0)
xr = rng.normal(size=(600, 8))
yr = np.sin(xr[:, :1]) + xr[:, 1:2] * xr[:, 2:3]


def net(units, activation="relu", init="he_normal", outputs=10):
    hidden = [L.Dense(n, activation, kernel_initializer=init) for n in units]
    model = bp.Sequential([*hidden, L.Dense(outputs)], seed=0)
    model.build((64,) if outputs > 1 else (8,))
    return model


def show(title, model, data, optimizer=None, loss="cross_entropy", expected=None):
    model.compile(optimizers.Adam(1e-3) if optimizer is None else optimizer, loss=loss)
    found = model.diagnose(*data)
    kinds = [finding.kind for finding in found.findings]
    print(f"== {title}: {', '.join(kinds) or 'healthy'}")
    for finding in found.findings[:2]:
        print(f"   {finding}")
    assert (kinds[0] if kinds else None) == expected, found


normal = bp.initializers.RandomNormal(stddev=1.0)
show("ten sigmoid layers from N(0, 1)", net([30] * 10, "sigmoid", normal), (x, y),
     optimizers.SGD(0.1), expected="saturation")  # fmt: skip

stack = net([32] * 20, "linear", "orthogonal", outputs=1)
for layer in stack.layers[:-1]:
    layer.kernel.value *= 1.5
show("a linear recurrence of gain 1.5, 20 steps", stack, (xr, yr), optimizers.SGD(0.01), "mse",
     expected="exploding_gradients")  # fmt: skip

model = net([64, 64], "tanh", "glorot_uniform")
for layer in model.layers:
    layer.kernel.value *= 50
show("all weights times 50", model, (x, y), expected="paralysis")

model = net([64, 64])
model.layers[1].bias.value[...] = -10
show("relus that never wake", model, (x, y), expected="dead_units")

show("learning rate times 100", net([64] * 3), (x, y), optimizers.Adam(0.1),
     expected="learning_rate_too_high")  # fmt: skip
show("learning rate over 100,000", net([64]), (x, y), optimizers.Adam(1e-8),
     expected="learning_rate_too_low")  # fmt: skip
show("unscaled input", net([64, 64]), (x * 1000, y), expected="unscaled_input")

broken = np.array(x)
broken[17, 5] = np.nan
show("a NaN in row 17", net([64]), (broken, y), expected="non_finite")

rows = np.r_[np.flatnonzero(y != 3), np.flatnonzero(y == 3)[:2]]
show("a rare class", net([64]), (x[rows], y[rows]), expected="class_imbalance")

show("digits, as they should be", net([64]), (x, y))
show("regression, as it should be", net([64, 64], outputs=1), (xr, yr), loss="mse")

watch = bp.callbacks.Diagnose(every=5)
model = net([64, 64])
model.compile("adam", loss="cross_entropy")
model.fit(x, y, epochs=10, verbose=0, callbacks=[watch])
assert watch.last.healthy
print("\nafter 10 epochs:", watch.last, sep="\n")
print("\nwhere the time goes:", model.profile(x, y, repeats=5), sep="\n")
