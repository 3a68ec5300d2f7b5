"""What all optimizers have: a learning rate, a count of updates, and state for each parameter."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core, schedules
from ..base import arguments, checks
from ..base.memory import Array, aligned_copy, empty
from ..errors import ShapeError
from ..graph.parameter import Parameter

_AHEAD = 256  # rates of a schedule that are computed in one go


class Optimizer(arguments.Configured):
    """Base of all optimizers.

    Attributes
    ----------
    learning_rate : float or schedule
        May be assigned at any time, as other settings: it counts from the next batch on, also where
        a callback does so in a `fit`. ``lr`` is another name of it.
    iterations : int
        Updates done so far, over all fits.
    """

    name = ""
    _settled = False  # whether only assignments change `spec`: no code of the user's computes it
    _assigned = 0  # how often a setting was
    reports: tuple[str, ...] = ()  # what an update says of itself, in the logs
    _began = 0  # updates before the slots: a loaded model's, whose slots are new
    _iterations: _core.Counter  # the core's own, so that it is right at any moment
    _slots: dict[Parameter, list[Array]]
    _owner: Any
    _ahead: tuple[Any, int, list[float]] = None, 0, []  # the schedule, and rates from a step on
    _made = False  # then only attributes that there are may be set

    if not TYPE_CHECKING:  # editors and type checkers look at __init__

        def __new__(cls, *args: Any, **kwargs: Any) -> Optimizer:
            if "lr" in kwargs and "learning_rate" not in kwargs:
                kwargs["learning_rate"] = kwargs.pop("lr")
            self: Optimizer = super().__new__(cls, *args, **kwargs)
            self._slots = {}
            self._owner = None
            self._iterations = _core.Counter()
            return self

    def __init__(self, learning_rate: Any) -> None:
        self.learning_rate = learning_rate

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._settled = cls.__module__.partition(".")[0] == __name__.partition(".")[0]
        plain_init = cls.__init__

        def __init__(self: Any, *args: Any, **options: Any) -> None:
            if "lr" in options and "learning_rate" not in options:  # PyTorch's word
                options["learning_rate"] = options.pop("lr")
            plain_init(self, *args, **options)
            if type(self).__init__ is __init__:  # the outermost
                self._made = True

        __init__.__wrapped__ = plain_init  # type: ignore[attr-defined]
        __init__.__doc__ = plain_init.__doc__
        cls.__init__ = __init__  # type: ignore[method-assign]

    def __setattr__(self, name: str, value: Any) -> None:
        known = not self._made or name.startswith("_") or name in self.__dict__
        if not known and not hasattr(type(self), name):
            raise self._unknown(name)
        counts = name == "_began" or not name.startswith("_")
        self.__dict__["_assigned"] = self._assigned + counts  # as Ctrl-C may come between,
        super().__setattr__(name, value)
        if self._made and name in arguments.names(type(self)):
            self._config_args[name] = getattr(self, name)  # as what is assigned may be converted
        self.__dict__["_assigned"] = self._assigned + counts  # and another thread may have looked

    def __getattr__(self, name: str) -> Any:
        raise self._unknown(name)  # the usual ways have not found it

    def _unknown(self, name: str) -> AttributeError:
        names = [key for key in (*self.__dict__, *dir(type(self))) if not key.startswith("_")]
        return AttributeError(
            f"{type(self).__name__} has no attribute {name!r}{checks.suggest(name, names)}"
        )

    @property
    def lr(self) -> Any:
        """The learning rate by PyTorch's name."""
        return self.learning_rate

    @lr.setter
    def lr(self, value: Any) -> None:
        self.learning_rate = value

    @property
    def iterations(self) -> int:
        """Updates done so far, over all fits."""
        return self._iterations.value

    @iterations.setter
    def iterations(self, count: int) -> None:
        self._began = min(self._began, count)
        self._iterations.value = count

    @property
    def learning_rate(self) -> Any:
        """A float, or a callable of the step."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        value = schedules.checked_rate(value)
        self._learning_rate = value
        self._config_args["learning_rate"] = value

    _rate_factor = 1.0  # what the core's rate is, over the learning rate

    def rates(self, first: int, count: int) -> Array:
        """The core's rates for updates `first`, ..., as many as are good; an error if the first is
        not."""
        factor = self._rate_factor
        found = self._rates(first, count)
        return found if factor == 1.0 else found * factor

    def _rates(self, first: int, count: int) -> Array:
        rate = self._learning_rate
        if isinstance(rate, float):
            return np.array([rate])
        if isinstance(rate, schedules.Schedule):
            values = np.asarray(rate.rates(np.arange(first, first + count, dtype=np.float64)))
        else:
            values = self._called(rate, first, min(count, 64))
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        if bad.size and bad[0] == 0:
            raise ValueError(
                f"learning rate schedule returned {values[0]} at step {first}, expected a finite "
                "number >= 0"
            )
        return np.array(values[: bad[0]] if bad.size else values, dtype=np.float64)  # its own

    def _called(self, rate: Any, first: int, count: int) -> Array:
        values: list[float] = []
        for step in range(first, first + count):
            try:
                value = rate(step)
                values.append(float(value))
            except Exception as error:
                if values:  # the steps before are done first
                    break
                if isinstance(error, TypeError) and "value" in locals():
                    got = f"returned {checks.describe(value)}"
                else:
                    got = f"raised {type(error).__name__}: {error}"
                raise ValueError(
                    f"learning rate schedule {got} at step {step}, expected a finite number >= 0"
                ) from error
        return np.asarray(values)

    def current_rate(self) -> float:
        """The rate of the next update."""
        rate = self._learning_rate
        if isinstance(rate, float):
            return rate
        step = self._iterations.value
        origin = rate._origin() if isinstance(rate, schedules.Schedule) else None
        if origin is None:
            return float(self._rates(step, 1)[0])
        known, first, values = self._ahead
        if known != (rate, origin) or not first <= step < first + len(values):
            first, values = step, self._rates(step, _AHEAD).tolist()
            self._ahead = (rate, origin), first, values
        found: float = values[step - first]
        return found

    def core_rate(self) -> float:
        """The same, as the core takes it."""
        return self.current_rate() * self._rate_factor

    def spec(self) -> dict[str, Any]:
        """For the core."""
        raise NotImplementedError

    def preconditioner(self) -> dict[str, Any]:
        """For the core: what it makes steps of gradients with, before `spec`; {}: nothing."""
        return {}

    def numbers(self) -> dict[str, Array]:
        """State that is not by parameter, in float64; {}: there is none yet."""
        return {}

    def set_numbers(self, numbers: Mapping[str, Array]) -> None:
        """Go on from what `numbers` gave."""

    def shapes(self, parameters: list[Parameter]) -> dict[str, tuple[int, ...]]:
        """The arrays of `numbers` when there are some, for these trained parameters."""
        return {}

    def bind(self, model: Any) -> None:
        """Belong to one model: the state is that of its weights."""
        owner = self._owner() if self._owner is not None else None
        if owner is not None and owner is not model:
            raise ValueError(
                f"optimizer is bound to model {owner.name!r}, got model {model.name!r}; make a new "
                f"{type(self).__name__} for each model"
            )
        if owner is None and self._owner is not None and (self.iterations or self._slots):
            raise ValueError(
                f"optimizer has the state of a model that is gone, got model {model.name!r}; make "
                f"a new {type(self).__name__} for each model"
            )
        epsilon = vars(self).get("epsilon")  # not every rule has one
        if epsilon is not None and epsilon < np.finfo(model.dtype).tiny:
            raise ValueError(
                f"{type(self).__name__}: epsilon={epsilon:g} is 0 in {model.dtype}, and a gradient "
                f"of 0 would make the weights NaN; give at least "
                f"{float(np.finfo(model.dtype).tiny):.2g}, or use dtype='float64'"
            )
        self._owner = weakref.ref(model)

    def slots(self, parameters: list[Parameter], trainable: list[bool]) -> list[list[Array]]:
        """State arrays per parameter, made on first use; [] for frozen ones."""
        spec = self.spec()
        count = _core.slot_count(spec)
        initial = [float(_core.slot_initial_value(spec, k)) for k in range(count)]
        result: list[list[Array]] = []
        for p, active in zip(parameters, trainable, strict=True):
            if not active:
                result.append([])
                continue
            arrays = self._slots.get(p)
            fits = arrays is not None and len(arrays) == count
            if not fits or any(a.shape != p.shape or a.dtype != p.dtype for a in arrays or []):
                try:
                    arrays = [empty(p.shape, p.dtype) for _ in initial]
                except MemoryError as error:
                    where = f"state of optimizer {type(self).__name__} for {p.name}"
                    raise MemoryError(f"{where}: {error}") from error
                for array, value in zip(arrays, initial, strict=True):
                    array[...] = value
                self._slots[p] = arrays
            result.append(self._slots[p])
        return result

    def state(self, parameters: list[Parameter]) -> dict[str, Any]:
        """Iterations and slot arrays in the order of `parameters`, for saving; not copied."""
        return {
            "iterations": self.iterations,
            "began": self._began,
            "slots": [list(self._slots.get(p, [])) for p in parameters],
        }

    def set_state(self, parameters: list[Parameter], state: Mapping[str, Any]) -> None:
        """Take what `state` gave; all of it is checked before anything is changed."""
        new: dict[Parameter, list[Array]] = {}
        count = _core.slot_count(self.spec())
        for p, arrays in zip(parameters, state["slots"], strict=True):
            new[p] = []
            if len(arrays) not in (0, count):
                raise ValueError(
                    f"optimizer state of {p.name}: got {len(arrays)} arrays, expected {count}"
                )
            for array in arrays:
                if array.dtype.kind not in "fiub":
                    raise TypeError(
                        f"optimizer state of {p.name}: got dtype {array.dtype}, expected {p.dtype}"
                    )
                if tuple(array.shape) != p.shape:
                    raise ShapeError(
                        f"optimizer state of {p.name}: expected {p.shape}, got {array.shape}"
                    )
                own = empty(p.shape, p.dtype)
                own[...] = array
                new[p].append(own)
        iterations = checks.integer("iterations", state["iterations"], 0, 2**62)
        self._began = checks.integer("began", state.get("began", 0), 0, iterations)
        self.iterations = iterations
        self._slots = {p: arrays for p, arrays in new.items() if arrays}

    def __getstate__(self) -> dict[str, Any]:
        # Slots by position: a dict keyed by objects that are still being unpickled is fragile.
        state = {**self.__dict__, "_owner": None, "_slots": None, "iterations": self.iterations}
        del state["_iterations"]
        state.pop("_ahead", None), state.pop("_assigned", None)
        return {**state, "_slot_list": list(self._slots.items())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        items = state.pop("_slot_list", [])
        self._iterations = _core.Counter(state.pop("iterations"))
        self.__dict__.update(state)
        self._slots = {}
        for p, arrays in items:
            self._slots[p] = [aligned_copy(array) for array in arrays]
