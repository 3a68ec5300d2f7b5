"""A small residual net (K. He et al., 2015) on the digits inside the package, by `Model`."""

import sys

import bpcore as bp
from bpcore import layers as L


def block(x, filters, strides):
    """Two convolutions beside a shortcut, which is a 1 x 1 convolution where the shape changes."""
    y = L.Conv2D(filters, 3, strides, "same", use_bias=False, kernel_initializer="he_normal")(x)
    y = L.Activation("relu")(L.BatchNormalization(momentum=0.9)(y))
    y = L.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(y)
    y = L.BatchNormalization(momentum=0.9)(y)
    if strides > 1:
        x = L.Conv2D(filters, 1, strides)(x)
    return L.Activation("relu")(L.Add()([x, y]))


(x, y), (xt, yt) = bp.datasets.load_digits(split=True, images=True)
x, xt = x[..., None], xt[..., None]

image = bp.Input((8, 8, 1))
h = L.Conv2D(8, 3, padding="same", activation="relu")(image)
h = block(h, 8, 1)
h = block(h, 16, 2)
model = bp.Model(image, L.Dense(10)(L.GlobalAveragePooling2D()(h)), seed=0)
model.compile(bp.optimizers.Adam(3e-3), loss="cross_entropy", metrics=["accuracy"])
model.fit(x, y, batch_size=32, epochs=5 if "--quick" in sys.argv else 12, verbose=2)

print(f"test accuracy {model.evaluate(xt, yt)['accuracy']:.4f}")
