"""A grid search over what scikit-learn's own networks do not have, in two processes.

joblib tells each process how many threads it may use, and bpcore keeps to it.
"""

import numpy as np
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bpcore.sklearn import MLPClassifier

if __name__ == "__main__":  # processes that start anew import this file
    x, y = make_classification(
        1000, n_features=12, n_informative=6, weights=[0.9], flip_y=0.02, random_state=0
    )
    x, y, xt, yt = x[:700], y[:700], x[700:], y[700:]
    net = make_pipeline(
        StandardScaler(), MLPClassifier((64,), learning_rate_init=0.005, tol=2e-3, random_state=0)
    )
    grid = {
        "mlpclassifier__dropout": [0.0, 0.3],
        "mlpclassifier__class_weight": [None, "balanced"],
    }
    search = GridSearchCV(net, grid, scoring="balanced_accuracy", cv=3, n_jobs=2).fit(x, y)
    print(f"best: {search.best_params_}, balanced accuracy {search.best_score_:.3f}")
    rare = np.mean(search.predict(xt)[yt == 1] == 1)
    print(f"of the rare class {100 * rare:.0f} % are found")
    assert search.score(xt, yt) > 0.75
