"""The commands on models of numbers alone, which know nothing of categories or classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..data import opening
from ..files import container


def is_plain(path: Path) -> bool:
    """Whether a file holds a model that `Model.save` wrote, and not one for tables."""
    return str(container.read(str(path)).document.get("kind", "model")) != "tabular"


def load(path: Path) -> Any:
    """The model of a file that `Model.save` or a checkpoint wrote, to be handed on."""
    from ..model.loading import load_checkpoint, load_model

    kind = str(container.read(str(path)).document.get("kind", "model"))
    if kind == "tabular":
        raise ValueError(
            f"{path}: the model prepares tables before its network, which other programs cannot "
            "do; in Python, load it by bpcore.tabular.load, hand on its network model_, and give "
            "that the numbers that preprocessor_.transform makes of a table"
        )
    return load_model(path) if kind == "model" else load_checkpoint(path)


def evaluate(path: Path, table: Any, target: str | None) -> dict[str, Any]:
    """Loss and metrics that the model was compiled with."""
    from ..model.loading import load_model

    if not target:
        raise ValueError("a model of numbers does not know its target's column; give --target")
    model = load_model(path)
    x, y = opening.from_table(table, target, model.feature_names)
    with _of(table.source):
        return dict(model.evaluate(x, y))


def answers(path: Path, table: Any) -> Iterator[list[list[Any]]]:
    """Lines of a csv file, block by block; the first is the head."""
    from ..model.loading import load_model

    model = load_model(path)
    if len(model.outputs) > 1:
        raise ValueError(f"{path}: the model has {len(model.outputs)} outputs, expected one")
    head, start = False, 0
    for x in opening.blocks(table, model.feature_names or table.names):
        with _of(f"{table.source}, rows from {start + 1}"):
            y = model.predict(x)
        start += len(x)
        y = y.reshape(len(y), -1)
        if not head:
            names = [f"output {k}" for k in range(y.shape[1])]
            yield [names if len(names) > 1 else ["output"]]
            head = True
        yield [[f"{value:.9g}" for value in row] for row in y.tolist()]


@contextmanager
def _of(source: str) -> Iterator[None]:
    """Errors that name the file, where a model says what is wrong with its numbers."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
