"""scikit-learn's own tests of its networks, run against bpcore's estimators.

``python -m pytest -p sklearn.conftest tests/judges/sklearn_mlp.py``. The tests are those of the
scikit-learn that is installed: this module takes their text, lets it import the estimators from
`bpcore.sklearn`, and runs it. Nothing else of it is changed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from sklearn.neural_network import tests

# Tests of what is private to scikit-learn, and why each of them says nothing about bpcore.
NOT_APPLICABLE = {
    "test_gradient": "calls _loss_grad_lbfgs with scikit-learn's lists of buffers; "
    "gradients are compared with PyTorch's and with complex steps in tests/test_gradients.py",
}

_OLD, _NEW = "from sklearn.neural_network import", "from bpcore.sklearn import"
_path = Path(tests.__path__[0]) / "test_mlp.py"
_text = _path.read_text(encoding="utf-8")
if _text.count(_OLD) != 1:
    raise RuntimeError(f"{_path}: expected one line {_OLD!r}, found {_text.count(_OLD)}")
exec(compile(_text.replace(_OLD, _NEW), str(_path), "exec"), globals())

for _name, _reason in NOT_APPLICABLE.items():
    globals()[_name] = pytest.mark.skip(reason=_reason)(globals()[_name])
# As scikit-learn runs them: a warning is an error only where a test says so.
pytestmark = pytest.mark.filterwarnings("default")
