"""Probabilities that can be taken at their word: scikit-learn's calibration around a network."""

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.metrics import brier_score_loss, log_loss

from bpcore.sklearn import MLPClassifier

x, y = make_classification(3000, n_features=20, n_informative=8, flip_y=0.25, random_state=1)
x, y, xt, yt = x[:1000], y[:1000], x[1000:], y[1000:]
net = MLPClassifier((100,), learning_rate_init=0.01, tol=1e-3, random_state=0)
calibrated = CalibratedClassifierCV(net, method="sigmoid", cv=5).fit(x, y)
net.fit(x, y)
for name, model in (("network", net), ("calibrated", calibrated)):
    p = model.predict_proba(xt)[:, 1]
    told, true = np.mean(np.maximum(p, 1 - p)), np.mean((p > 0.5) == yt)
    print(
        f"{name:<11} log loss {log_loss(yt, p):.3f}, Brier score {brier_score_loss(yt, p):.3f}; "
        f"says {100 * told:.0f} % on average and is right in {100 * true:.0f} %"
    )
assert log_loss(yt, calibrated.predict_proba(xt)) < log_loss(yt, net.predict_proba(xt))
