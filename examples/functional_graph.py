"""A graph with a skip connection, a shared layer and two outputs."""

import numpy as np

import bpcore as bp

left = bp.Input((8,), name="left")
right = bp.Input((8,), name="right")
encode = bp.layers.Dense(32, activation="tanh")  # called twice: one set of weights
a, b = encode(left), encode(right)
h = bp.layers.Dense(32, activation="relu")(bp.layers.Concatenate()([a, b]))
h = h + a * b  # where a value branches, its deltas add
distance = bp.layers.Dense(1, name="distance")(h)
closer = bp.layers.Dense(1, activation="sigmoid", name="closer")(h)
model = bp.Model([left, right], [distance, closer], seed=0)
model.compile(
    bp.optimizers.Adam(3e-3),
    loss=["mean_squared_error", "binary_cross_entropy"],
    loss_weights=[1.0, 0.5],
)

rng = np.random.default_rng(0)
p, q = rng.normal(size=(2, 4096, 8)).astype("float32")
d = np.linalg.norm(p - q, axis=1, keepdims=True)
c = (np.linalg.norm(p, axis=1) < np.linalg.norm(q, axis=1)).astype("float32")[:, None]
history = model.fit([p, q], [d, c], batch_size=64, epochs=20, verbose=2)
assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
