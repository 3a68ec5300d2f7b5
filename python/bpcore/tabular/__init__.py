"""Tables with numbers, categories, booleans and missing values, in one line.

>>> from bpcore.tabular import TabularClassifier
>>> table = {"size": [1.0, 2.0, 3.0, 4.0] * 20, "kind": ["a", "b", "a", None] * 20}
>>> label = ["small", "small", "large", "large"] * 20
>>> model = TabularClassifier(hidden=(16,), epochs=60, random_state=0).fit(table, label)
>>> model.predict({"size": [1.5], "kind": ["never seen"]}).tolist()
['small']
"""

from ..data.tables import open_table
from .estimators import TabularClassifier, TabularRegressor, load
from .preprocessor import Column, Preprocessor

__all__ = [
    "Column",
    "Preprocessor",
    "TabularClassifier",
    "TabularRegressor",
    "load",
    "open_table",
]
