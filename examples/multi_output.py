"""Two outputs of unlike scales: what a network does with them as they are, and scaled."""

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bpcore.sklearn import MLPRegressor

rng = np.random.default_rng(0)
x = rng.normal(size=(1500, 6))
small = 1e-3 * (np.sin(x[:, 0]) + 0.5 * x[:, 1] ** 2)  # a fraction, of size 0.001
large = 1e3 * (x[:, 2] + x[:, 3] * x[:, 4]) + 1e4  # a price, of size 10,000
y = np.stack([small, large], axis=1)
x, y, xt, yt = x[:1000], y[:1000], x[1000:], y[1000:]

inner = MLPRegressor(
    hidden_layer_sizes=(64,), learning_rate_init=0.01, early_stopping=True, random_state=0
)
net = make_pipeline(StandardScaler(), inner)
scaled = TransformedTargetRegressor(net, transformer=StandardScaler())
for name, model in (("as they are", net), ("scaled", scaled)):
    found = model.fit(x, y).predict(xt)
    scores = r2_score(yt, found, multioutput="raw_values")
    print(f"{name:<12} R squared: fraction {scores[0]:8.3f}, price {scores[1]:6.3f}")
assert min(scores) > 0.9  # the squared errors of the price would else be all that counts
