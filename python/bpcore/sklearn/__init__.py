"""scikit-learn's door: estimators that train with bpcore. Needs the extra ``sklearn``.

`MLPClassifier` and `MLPRegressor` take the place of scikit-learn's classes of these names;
`RNNClassifier` and `RNNRegressor` take sequences; `Classifier` and `Regressor` put any bpcore model
into pipelines and searches.

>>> import bpcore as bp
>>> from bpcore.sklearn import MLPClassifier
>>> (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
>>> MLPClassifier(early_stopping=True, random_state=0).fit(x, y).score(xt, yt) > 0.9
True
"""

from ..base import optional

optional.require("sklearn", "sklearn", "bpcore.sklearn")

from .convert import from_sklearn, to_sklearn  # noqa: E402
from .mlp import MLPClassifier, MLPRegressor  # noqa: E402
from .recurrent import RNNClassifier, RNNRegressor  # noqa: E402
from .wrapped import Classifier, Regressor  # noqa: E402

__all__ = [
    "Classifier",
    "MLPClassifier",
    "MLPRegressor",
    "RNNClassifier",
    "RNNRegressor",
    "Regressor",
    "from_sklearn",
    "to_sklearn",
]
