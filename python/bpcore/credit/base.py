"""What all rules have: weights of their own, and the network as it is trained."""

from __future__ import annotations

import weakref
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from .. import initializers
from ..base import arguments, checks, seeding
from ..base.memory import empty
from ..graph import End, Parameter
from ..graph.parameter import reserve

_PURPOSE = 0x637265646974  # of its random numbers, among those of a model's seed


class Rule(arguments.Configured):
    """Base of all rules.

    A rule belongs to one model, as an optimizer does, and keeps its weights (feedback matrices,
    inverses, modules) over all fits; files of models and checkpoints hold them.

    A subclass defines `wire`, and `check` where losses or outputs matter to it.

    Attributes
    ----------
    weights : list of Parameter
        Those of the rule, by the names ``"credit/<name>"``; made when the model is built.

    Examples
    --------
    Only the last layer learns, those below stay as they were drawn:

    >>> import bpcore as bp, numpy as np
    >>> class LastLayer(bp.credit.Rule):
    ...     def wire(self, net):
    ...         *hidden, last = net.blocks()
    ...         x = net.inputs[0]
    ...         for block in hidden:
    ...             x = net.run(block, x)
    ...         net.outputs = [net.run(last, net.stop(x))]
    >>> model = bp.Sequential([bp.layers.Dense(8, "tanh"), bp.layers.Dense(2)], seed=0)
    >>> model.compile("sgd", "mse", credit=LastLayer())
    >>> logs = model.train_on_batch(np.eye(4), np.eye(4)[:, :2])
    >>> model.alignment(np.eye(4), np.eye(4)[:, :2])
    {'dense': nan, 'dense_1': 0.0}
    """

    name = "credit"
    trainable = True  # of its weights, those that are
    depends: Any = None  # on what `wire` depends besides the model and the arguments
    weighs = True  # whether samples may have weights
    together = False  # what a row teaches depends on the other rows of the batch

    if not TYPE_CHECKING:  # editors and type checkers look at __init__

        def __new__(cls, *args: Any, **kwargs: Any) -> Rule:
            self: Rule = super().__new__(cls, *args, **kwargs)
            self._weights = {}
            self._owner = None
            self._seed = self._drawn = 0
            self._first_rate = None
            return self

    _weights: dict[str, Parameter]
    _owner: Any
    _seed: int
    _drawn: int  # weights so far
    _first_rate: float | None  # the optimizer's at `compile`

    def __init__(self) -> None:
        pass

    @property
    def label(self) -> str:
        """Its class, for messages."""
        return type(self).__name__

    @property
    def random_seed(self) -> int:
        """Of its weights and its noise; from the model's."""
        return self._seed

    @property
    def weights(self) -> list[Parameter]:
        """All of its own."""
        return list(self._weights.values())

    def bind(self, model: Any) -> None:
        """Belong to one model: the weights fit its layers."""
        owner = self._owner() if self._owner is not None else None
        if owner is not None and owner is not model:
            raise ValueError(
                f"{self.label} is in use by model {owner.name!r}, got model {model.name!r}; make a "
                "new one for each model"
            )
        if owner is None and self._owner is not None and self._weights:
            raise ValueError(
                f"{self.label} has the weights of a model that is gone, got model {model.name!r}; "
                "make a new one for each model"
            )
        self._owner = weakref.ref(model)
        self._seed = seeding.mix(model.seed, _PURPOSE)

    def weight(
        self, name: str, shape: tuple[int, ...], dtype: str, initializer: Any, trainable: bool
    ) -> Parameter:
        """The weight of this name, made on first use."""
        found = self._weights.get(name)
        if found is not None and found.shape != tuple(shape):  # the model's layers are others now
            found = None
        if found is not None and found.dtype != dtype:
            found.convert(dtype)
        if found is None:
            told, held = initializers.get(initializer), reserve.get()
            sizes = checks.weight_shape(f"{self.label}: {name}", shape, int(dtype[-2:]) // 8)
            if held is not None:  # a file gives the values
                held.take(name, sizes)
                value = empty(sizes, dtype)
            else:
                value = told._parameter(sizes, dtype, self._seed, self._drawn)
            self._drawn += 1
            found = Parameter(self, name, value, trainable=trainable)
            if held is None and not told.repeats:
                found.note_drawn()
            self._weights[name] = found
        return found

    def keep(self, names: Collection[str]) -> None:
        """Drop the weights of layers that are gone."""
        self._weights = {name: p for name, p in self._weights.items() if name in names}

    def begin(self, rate: float) -> None:
        """`compile` tells the optimizer's learning rate; one that a file told holds."""
        if self._first_rate is None or not self._told:
            self._first_rate = rate
        self._told = False

    _told = False

    def factor(self, rate: float | None) -> float:
        """By what the optimizer's learning rate is multiplied to be one of the rule's own."""
        if rate is None:
            return 1.0
        if not self._first_rate:
            raise ValueError(
                f"{self.label}: got a learning rate of its own, {rate:g}, which follows the "
                "optimizer's, expected the optimizer's to be above 0 at compile"
            )
        return rate / self._first_rate

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the code of one's own is not saved."""
        if type(self).__module__.partition(".")[0] != __name__.partition(".")[0]:
            raise TypeError(f"rule {self.label} is a Python object and cannot be saved")
        config = super().get_config()
        if self._first_rate is not None and any(
            key.endswith("_learning_rate") and value is not None for key, value in config.items()
        ):
            config["of_rate"] = self._first_rate
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        own = dict(config)
        rate = own.pop("of_rate", None)
        rule = cls(**own)
        if rate is not None:
            rule._first_rate = checks.real("of_rate", rate, 0.0, open_low=True)
            rule._told = True
        return rule

    def check(self, losses: list[Any], ends: list[End]) -> None:
        """Refuse losses and outputs that the rule has no meaning for."""

    def wire(self, net: Any) -> None:
        """Write the network as it is trained, to a `wiring.Wiring`."""
        raise NotImplementedError(f"{self.label} must define wire(net)")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_owner": None}


def own_rate(name: str, value: Any) -> float | None:
    """A learning rate of a rule's own, or None."""
    return None if value is None else checks.real(name, value, 0.0, open_low=True)
