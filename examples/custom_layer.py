"""A layer in plain NumPy inside the compiled loop: a learned scale per feature."""

import numpy as np

import bpcore as bp


class Scale(bp.layers.Layer):
    """y = x * s, so dx = dy * s and ds = sum over the batch of dy * x."""

    def build(self, input_shape):
        self.s = self.add_weight("s", input_shape, "ones")

    def forward(self, x, training):
        self.x = x
        return x * self.s.value

    def backward(self, dy):
        self.s.grad[...] += (dy * self.x).sum(axis=0)
        return dy * self.s.value


(x, y), (xt, yt) = bp.datasets.load_digits(split=True)
model = bp.Sequential(
    [Scale(), bp.layers.Dense(64, activation="gelu"), bp.layers.Dense(10)], seed=0
)
model.compile("adam", loss="cross_entropy", metrics=["accuracy"])
model.fit(x, y, epochs=15, verbose=2)
print(model.evaluate(xt, yt))
print(model.gradcheck(x[:8], y[:8]))
assert np.isfinite(model.get_weights()[0]).all()
