"""A convolutional autoencoder takes noise off digits: 8 x 8 pixels, 2 x 2 x 8 numbers, 8 x 8."""

import sys

import numpy as np

import bpcore as bp
from bpcore import layers as L

(x, _), (xt, _) = bp.datasets.load_digits(split=True, images=True)
x, xt = (a[..., None].astype("float32") for a in (x, xt))


def noisy(images, seed):
    noise = np.random.default_rng(seed).normal(scale=0.3, size=images.shape)
    return (images + noise).astype("float32")


def show(*images):
    for rows in zip(*(image[..., 0] for image in images), strict=True):
        pixels = (("".join(" .:-=+*#%@"[int(9.99 * np.clip(v, 0, 1))] * 2 for v in row))
                  for row in rows)  # fmt: skip
        print("   ", "   ".join(pixels))


model = bp.Sequential(
    [
        bp.Input((8, 8, 1)),
        L.Conv2D(32, 3, padding="same", activation="relu"),
        L.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
        L.Conv2D(8, 3, strides=2, padding="same"),  # the code
        L.UpSampling2D(2),
        L.Conv2D(32, 3, padding="same", activation="relu"),
        L.UpSampling2D(2),
        L.Conv2D(32, 3, padding="same", activation="relu"),
        L.Conv2D(1, 3, padding="same"),
    ],
    seed=0,
)
model.compile(bp.optimizers.Adam(3e-3), "mse")
for epoch in range(8 if "--quick" in sys.argv else 40):
    model.fit(noisy(x, epoch), x, verbose=0)  # new noise in each epoch

given = noisy(xt, 1000)
found = model.predict(given)
show(given[0], found[0], xt[0])
print(f"mean squared error of the noisy digits {np.mean((given - xt) ** 2):.4f}, "
      f"of the cleaned ones {np.mean((found - xt) ** 2):.4f}")  # fmt: skip
