"""Checkpoints of every format, as the version that brought it wrote them, go on to the same end."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import CodeWarning
from bpcore.files import checkpoint

from .helpers import files, runs, support

FOLDER = support.FIXTURES / "formats"
ENDS = {
    (number, key): end
    for number in range(1, checkpoint.FORMAT + 1)
    for key, end in json.loads((FOLDER / f"runs-{number}.json").read_text("utf-8")).items()
}


@pytest.mark.parametrize("number, key", ENDS, ids=str)
def test_a_run_of_every_format_goes_on(tmp_path, number, key):
    """Of format 1, which has code by its name, it is said once that it cannot be compared."""
    path = tmp_path / "run"
    shutil.copy(FOLDER / f"run-{number}-{key}.safetensors", path)
    assert files.taken_apart(path)[0]["format"] == number
    name, stop = key.rsplit("-", 1)
    with warnings.catch_warnings(record=True) as said:
        warnings.filterwarnings("ignore", ".*not guaranteed")  # another version, another CPU
        warnings.filterwarnings("ignore", ".*this epoch's are of both kinds")  # weighted or not
        warnings.simplefilter("always", CodeWarning)
        model, history, _ = runs.RUNS[name](str(path))
    found = [w.category for w in said if w.category is not UserWarning]
    with_code = number == 1 and name in ("in_python", "pairs")  # or another Python's
    assert found == [CodeWarning] * with_code or ({*found} == {CodeWarning} and number > 1)
    end = ENDS[number, key]
    assert model.optimizer.iterations == end["iterations"]
    np.testing.assert_allclose(history.history["loss"], end["loss"], rtol=1e-5)
    for value, expected in zip(model.get_weights(), end["weights"], strict=True):
        np.testing.assert_allclose(value.ravel(), expected, rtol=1e-4, atol=1e-6)
    # what is written now, if anything is, has the present format
    assert files.taken_apart(path)[0]["format"] == (number if stop == "finished" else 2)


def test_models_without_updates_stay_in_format_1(tmp_path):
    """Files of models are not touched by what checkpoints need."""
    files.small_model().save(tmp_path / "m")
    content = (tmp_path / "m").read_bytes()
    assert b'\\"format\\":1,' in content
    with pytest.raises(
        bp.FormatError, match="got format 2, expected 2 with an entry 'updates' or 1 without"
    ):
        document, arrays = files.model_parts()
        (tmp_path / "m").write_bytes(files.forged({**document, "format": 2}, arrays))
        bp.load_model(tmp_path / "m")
