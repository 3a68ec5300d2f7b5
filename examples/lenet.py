"""LeNet-5 (Y. LeCun et al., 1998) with relu and max pooling on the digits inside the package."""

import sys

import bpcore as bp
from bpcore import layers as L

(x, y), (xt, yt) = bp.datasets.load_digits(split=True, images=True)
x, xt = x[..., None], xt[..., None]  # (N, 8, 8, 1): one channel

model = bp.Sequential(
    [
        L.Conv2D(6, 5, padding="same", activation="relu"),
        L.MaxPooling2D(2),
        L.Conv2D(16, 3, padding="same", activation="relu"),
        L.MaxPooling2D(2),
        L.Flatten(),
        L.Dense(120, activation="relu"),
        L.Dense(84, activation="relu"),
        L.Dense(10),  # logits: the loss adds the softmax
    ],
    seed=0,
)
epochs, batch_size = 10 if "--quick" in sys.argv else 20, 32
rate = bp.schedules.Polynomial(2e-3, decay_steps=epochs * -(-len(x) // batch_size))
model.compile(bp.optimizers.Adam(rate), loss="cross_entropy", metrics=["accuracy"])
model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=2)
model.summary()

print(f"test accuracy {model.evaluate(xt, yt)['accuracy']:.4f}")
