"""Train a small classifier on the digits inside the package, save it, and read it back."""

import numpy as np

import bpcore as bp

(x, y), (xt, yt) = bp.datasets.load_digits(split=True)

model = bp.Sequential(
    [
        bp.layers.Dense(128, activation="relu"),
        bp.layers.Dense(64, activation="relu"),
        bp.layers.Dense(10),  # ends linear, so these are logits and the loss adds the softmax
    ],
    seed=0,
)
model.compile(bp.optimizers.Adam(1e-3), loss="cross_entropy", metrics=["accuracy"])
model.fit(x, y, batch_size=32, epochs=30, validation_data=(xt, yt), verbose=2)
model.summary()
print(model.evaluate(xt, yt))

model.save("digits.safetensors")
again = bp.load_model("digits.safetensors")
assert np.array_equal(again.predict(xt), model.predict(xt))  # the same bits
