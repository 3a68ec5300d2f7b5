"""scikit-learn's pipeline around a network of bpcore, scored by cross-validation."""

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bpcore.sklearn import MLPClassifier

x, y = load_breast_cancer(return_X_y=True)
net = MLPClassifier((32,), dropout=0.2, tol=1e-3, random_state=0)
scores = cross_val_score(make_pipeline(StandardScaler(), net), x, y, cv=5)
print(f"accuracy {scores.mean():.3f} +- {scores.std():.3f} over {len(scores)} folds")
assert scores.mean() > 0.94
