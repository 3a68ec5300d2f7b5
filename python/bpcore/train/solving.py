"""Batch solvers in `fit`: what they refuse, and their iterations."""

from __future__ import annotations

from typing import Any

from .. import _core
from ..base.memory import physical
from ..data.dataset import Dataset
from ..optimizers import BatchSolver
from .evaluation import SLICE

_DEFAULT = 32  # fit's batch_size when nobody gives one
_MEMORY = 4  # matrices of P x P numbers, at most


def refuse(loop: Any, train: Dataset | None) -> None:
    """Raise, before any work, for what does not go with a solver."""
    solver, compilation, options = loop.optimizer, loop.compilation, loop.options
    name = type(solver).__name__
    if train is None:
        raise ValueError(
            f"{name} takes all of the data at once, got an iterable of batches; give arrays or "
            "memmaps, or use a mini-batch optimizer such as 'adam'"
        )
    size = options.batch_size
    if size is not None and size != _DEFAULT and size < train.n:
        raise ValueError(
            f"{name} takes all of the data at once, got batch_size={size} for {train.n} rows; "
            "leave it out, or give batch_size=None; mini-batches need another optimizer, such as "
            "'adam'"
        )
    for what, value, none in (
        ("gradient_clip_norm", compilation.clip_norm, 0),
        ("gradient_clip_value", compilation.clip_value, 0),
        ("accumulate_steps", compilation.accumulate_steps, 1),
        ("parameter_groups", compilation.groups.get_config(), None),
    ):
        if value and value != none:
            raise ValueError(
                f"{name} finds its steps by itself, got {what}={value}; compile without it"
            )
    for what, value in (("steps_per_epoch", options.steps), ("bptt", options.bptt)):
        if value is not None:
            raise ValueError(
                f"{name} takes all of the data at once, an iteration in each epoch, got {what}; "
                "leave it out, or use a mini-batch optimizer such as 'adam'"
            )
    compilation.refuse_sums(name)
    for p in loop.engine.params:
        if p.trainable and p.constraint is not None:
            raise ValueError(
                f"{name} takes no constraints, got one on {p.name}; leave it out, or train with a "
                "mini-batch optimizer such as 'adam'"
            )


class Solving:
    """A solver of the core, and the trainer that holds its data and gathers its results."""

    def __init__(self, engine: Any, compilation: Any, trainer: Any) -> None:
        self.optimizer: BatchSolver = compilation.optimizer
        self.trainer = trainer
        offsets, size = places(engine)
        self._refuse_size(size)
        try:
            made = _core.Solver(trainer, self.optimizer.name, self.optimizer.options(), offsets)
        except ValueError as error:
            raise ValueError(f"{type(self.optimizer).__name__}: {error}") from None
        self.core = self.optimizer.attach(made)
        self.optimizer.stopped = ""

    def _refuse_size(self, size: int) -> None:
        """J^T J must fit into memory."""
        if not self.optimizer.curvature:
            return
        need = _MEMORY * 8 * size * size
        most = physical()
        if most and need > most:
            raise ValueError(
                f"{type(self.optimizer).__name__}: got {size} trained parameters, for which "
                f"J^T J and its factors take {need / 2**30:.3g} GiB of {most / 2**30:.3g} GiB; use "
                "bpcore.optimizers.LBFGS, whose memory grows with the parameters alone, or freeze "
                "layers"
            )

    def iterations(
        self, train: Dataset, most: int
    ) -> list[tuple[dict[str, Any], dict[str, float]]]:
        """Up to `most` iterations, a slice of time; of each the trainer's results after it, and
        what the solver says of it."""
        done, verdict = self.core.run(most, SLICE)
        if verdict == "not finite" and not done:
            trainer = self.trainer
            trainer.gradients(train.xs, train.ys, train.told, training=False)  # says where
            trainer.set_data(train.xs, train.ys, train.told)
            raise _core.Diverged("", {"layer": "", "tensor": "gradient"})
        if verdict != "not finite":  # else it is found again by the next call
            self.optimizer.stopped = verdict
        return list(done)


def places(engine: Any) -> tuple[list[int], int]:
    """By parameter of the core, where it begins in the vector of all trained numbers (-1: is not
    in it), and how many these are; in the order of `trainable_weights`."""
    begin, size = {}, 0
    for p in trained(engine):
        begin[id(p)] = size
        size += p.value.size
    return [begin.get(id(p), -1) for p in engine.params], size


def trained(engine: Any) -> list[Any]:
    """The trained parameters, in the order of `trainable_weights`."""
    flags = dict(zip(map(id, engine.params), engine.flags, strict=False))
    found: list[Any] = []
    for layer in engine.layers:
        for p in layer.weights:
            if flags.get(id(p)) and all(p is not other for other in found):
                found.append(p)
    return found
