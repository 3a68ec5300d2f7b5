"""What recurrent layers carry from training batch to training batch, and who has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .memory import Array


class Carried:
    """The states of a model's recurrent layers, which go on in the next batch or window.

    They are those of a trainer of the core, which moves them at every batch; they are fetched when
    another trainer goes on (for sequences of another length, or after `compile`), or when they are
    to be written to a file.

    Attributes
    ----------
    rows : int or None
        Samples of the batch whose states are held; None: the next batch begins with zeros.
    told : callable
        What layers can carry, by key: how many numbers a sample, and whether the layer is stateful.
    """

    def __init__(self) -> None:
        self.rows: int | None = None
        self.told: Callable[[], Mapping[str, tuple[int, bool]]] = dict
        self._trainer: Any = None
        self._given: dict[str, Array] = {}

    def states(self) -> dict[str, Array]:
        """By key, (rows, numbers); {} where the next batch begins with zeros."""
        if self._trainer is None:
            return self._given
        if self._trainer.deserted or self.rows is None:  # in a forked child it cannot be relied on
            return {}
        found: dict[str, Array] = self._trainer.states()
        return found

    def set(self, states: Mapping[str, Array]) -> None:
        """The next batch begins with these."""
        self._trainer, self._given = None, dict(states)
        self.rows = next((len(state) for state in states.values()), None)

    def fetch(self) -> None:
        """Take the states from the trainer, which is about to be used for something else."""
        self.set(self.states())

    def forget(self) -> None:
        """Layers that are not stateful begin with zeros."""
        states = self.states()
        if states:
            told = self.told()
            self.set({key: state for key, state in states.items() if told[key][1]})

    def begin(self, trainer: Any, rows: int, fresh: bool = True) -> None:
        """`trainer` is about to train a batch of so many samples.

        With `fresh` layers that are not stateful begin with zeros, else they go on, too.
        """
        if trainer is self._trainer:
            if fresh:
                trainer.reset_states(False)
        else:
            if fresh:
                self.forget()
            trainer.set_states(self.states())
            self._trainer, self._given = trainer, {}
        self.rows = rows

    def check(self, states: Mapping[str, Array], dtype: str, rows: int | None = None) -> None:
        """ValueError for what `states` cannot have given, of so many rows."""
        told = self.told() if states else {}
        wanted = [set(told), {key for key, (_, goes_on) in told.items() if goes_on}]
        if states and set(states) not in wanted:
            raise ValueError(
                f"states: got {sorted(states)}, expected those of {sorted(wanted[0])} or of the "
                f"stateful {sorted(wanted[1])}"
            )
        for key, state in states.items():
            if rows is None:
                rows = max(1, len(state)) if state.ndim else 1
            shape = (rows, told[key][0])
            if state.shape != shape or state.dtype != dtype or not np.isfinite(state).all():
                raise ValueError(
                    f"state of {key}: got {state.dtype} of shape {state.shape}, expected finite "
                    f"{dtype} of shape {shape}"
                )
