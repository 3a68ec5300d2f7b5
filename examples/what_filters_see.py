"""A look into a convolutional net: its filters, their maps of a digit, the image that a class wants
most (K. Simonyan et al., 2014), and digits that deceive it (I. Goodfellow et al., 2015)."""

import sys

import numpy as np

import bpcore as bp
from bpcore import layers as L

(x, y), (xt, yt) = bp.datasets.load_digits(split=True, images=True)
x, xt = (a[..., None].astype("float32") for a in (x, xt))
model = bp.Sequential(
    [
        bp.Input((8, 8, 1)),
        L.Conv2D(6, 3, padding="same", activation="relu", name="first"),
        L.MaxPooling2D(),
        L.Conv2D(16, 3, padding="same", activation="relu", name="second"),
        L.Flatten(),
        L.Dense(10),
    ],
    seed=0,
)
model.compile(bp.optimizers.Adam(3e-3), "cross_entropy", metrics=["accuracy"])
model.fit(x, y, epochs=8 if "--quick" in sys.argv else 30, verbose=0)
clean = model.evaluate(xt, yt)["accuracy"]


def show(title, *pictures):
    """Pictures side by side, from their smallest value to their largest."""
    print(title)
    scaled = [(p - p.min()) / (np.ptp(p) + 1e-12) for p in pictures]
    for rows in zip(*scaled, strict=True):
        print("   ", "   ".join("".join(" .:-=+*#%@"[int(9.99 * v)] * 2 for v in r) for r in rows))


def slope(images, labels):
    """dL/dx: up it the loss grows."""
    return model.gradients(images, labels, wrt_inputs=True).inputs


kernel = model.layers[0].kernel.value
show("the six filters of the first layer", *np.moveaxis(kernel[:, :, 0], -1, 0))
maps = bp.Model(model.inputs, model.layers[0].output).predict(xt[:1])
show("a digit, and what they make of it", xt[0, ..., 0], *np.moveaxis(maps[0], -1, 0)[:4])

wanted = np.full((1, 8, 8, 1), 0.3, "float32")
for _ in range(200):
    step = slope(wanted, [3]) + 0.002 * wanted  # a pull to 0 where the class needs nothing
    wanted = np.clip(wanted - 0.05 * step / (np.abs(step).max() + 1e-12), 0, 1).astype("float32")
logits = model.predict(wanted)[0].astype("float64")
surely = np.exp(logits[3] - logits.max()) / np.exp(logits - logits.max()).sum()
show(f"what the net takes for a 3, with probability {surely:.4f}", wanted[0, ..., 0])

false = np.clip(xt + 0.1 * np.sign(slope(xt, yt)), 0, 1).astype("float32")
chance = np.random.default_rng(0).choice([-0.1, 0.1], size=xt.shape)
by_chance = np.clip(xt + chance, 0, 1).astype("float32")
show("a digit, and the same moved by 0.1 against the net", xt[0, ..., 0], false[0, ..., 0])
print(f"test accuracy {clean:.3f}; pixels moved by 0.1 at random "
      f"{model.evaluate(by_chance, yt)['accuracy']:.3f}, against the net "
      f"{model.evaluate(false, yt)['accuracy']:.3f}")  # fmt: skip
