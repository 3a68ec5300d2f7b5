"""The base of all callbacks, functions as callbacks, and the list of them that a fit calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from ..base import arguments, checks, kinds
from ..data.dataset import Dataset
from ..errors import TrainingDiverged

Logs = dict[str, float]


class Callback:
    """Base class; override what you need. Batch hooks cost nothing unless overridden.

    The order in a fit: `set_model` and `set_params`; `on_train_begin`; for each epoch
    `on_epoch_begin`, the batches, validation (`on_test_begin`, then `around_validation` is
    entered, `on_test_end`), `on_epoch_end`; `on_train_end` unless an exception ended the fit;
    `on_train_exit` in any case.

    Attributes
    ----------
    model : Model
        Set ``model.stop_training = True`` to end after the current batch or slice of batches.
    params : dict
        ``epochs``, ``steps`` (batches per epoch, None if not known), ``verbose``, ``validation``
        (whether there is any), ``validation_freq``, ``logs`` (the names that the logs of an epoch
        have when they reach this callback), ``logs_complete`` (False if a callback before this one
        may add others) and ``lists`` (those names whose values are lists of numbers).
    adds : tuple of str
        Names that the callback adds to the logs.

    Examples
    --------
    >>> import bpcore as bp
    >>> class Stop(bp.callbacks.Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         self.model.stop_training = logs["loss"] < 0.1
    """

    model: Any = None
    params: dict[str, Any]
    adds: tuple[str, ...] = ()

    def set_model(self, model: Any) -> None:
        """Called first."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called second."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Epochs are counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """`logs`: loss, metrics, and ``val_...`` if there is validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Batches are counted from 0 in each epoch."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """`logs`: means over the epoch so far."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before the validation of an epoch, while the weights are those in training."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After the validation of an epoch; `logs`: its numbers."""

    def on_train_slice_end(self) -> None:
        """After at most 50 ms of training, or a batch that took longer; costs next to nothing."""

    def around_validation(self) -> AbstractContextManager[Any]:
        """A context around validation and all `on_epoch_end` after it, left in reverse order."""
        return nullcontext()

    def on_train_diverged(self, error: TrainingDiverged) -> bool:
        """Return True to end the fit without the exception."""
        return False

    def on_train_exit(self) -> None:
        """Called once when fit ends in whatever way, after `on_train_end` if that ran."""

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint must hold for a resumed fit to go on alike: JSON values and arrays."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` gave; before or after `on_train_begin`.

        What comes from a file may be damaged or forged: raise ValueError for what cannot be.
        """

    # ---- for bpcore's own callbacks -------------------------------------------------------------
    _decides: tuple[str, ...] = ()  # attributes without which a run is another one
    _sets_rate = False  # so that the optimizer's must be a number

    def _set_data(self, train: Dataset | None, copied: Callable[[], Any] | None) -> None:
        """What fit trains on, None for batches and after it; and what gives the `Parts` of a copy
        of the model as it is then."""

    def _fields(self, model: Any) -> dict[str, kinds.Kind]:
        """The entries of a state of `get_state`, for a built model."""
        return {}

    def _state_kind(self, model: Any) -> kinds.Kind:
        """What a state in a file must be; the user's own `get_state` leaves it to `set_state`."""
        fields = self._fields(model)
        own = "get_state" in vars(self) or _owner(self, "get_state") is not _owner(self, "_fields")
        return kinds.Record(fields, open=own) if fields or not own else kinds.Anything()


def _owner(item: Callback, name: str) -> type:
    """The class that defines a method of the callback."""
    return next(cls for cls in type(item).__mro__ if name in vars(cls))


class Stateful(arguments.Configured, Callback):
    """Base of bpcore's callbacks: a hint for misspelt arguments, state that outlives a restart."""

    _resumed = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if not self._resumed:
            self.reset()

    def on_train_exit(self) -> None:
        self._resumed = False

    def reset(self) -> None:
        """Forget the last fit."""

    def set_state(self, state: dict[str, Any]) -> None:
        self.reset()
        self._resumed = True  # if it comes before on_train_begin, that must not reset


class LambdaCallback(Callback):
    """Hooks as functions with the arguments of `Callback`'s methods.

    Examples
    --------
    >>> import bpcore as bp
    >>> show = bp.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch))
    """

    def __init__(
        self,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        on_test_begin: Callable[..., Any] | None = None,
        on_test_end: Callable[..., Any] | None = None,
        on_train_exit: Callable[..., Any] | None = None,
    ) -> None:
        hooks = dict(locals())
        for name in HOOKS:
            hook = hooks[name]
            if hook is None:
                continue
            if not callable(hook):
                raise TypeError(f"{name} must be a function, got {checks.describe(hook)}")
            setattr(self, name, hook)


HOOKS = (
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_end",
    "on_train_exit",
)


class CallbackList:
    """All callbacks of a fit, checked, as one."""

    def __init__(self, callbacks: Any) -> None:
        items = as_list(callbacks)
        for i, item in enumerate(items):
            if isinstance(item, type):
                raise TypeError(f"callbacks[{i}] is the class {item.__name__}, not an instance")
            if not isinstance(item, Callback):
                raise TypeError(f"callbacks[{i}] must be a Callback, got {checks.describe(item)}")
            _check_hooks(f"callbacks[{i}]", item)
            if any(item is other for other in items[:i]):
                raise ValueError(f"callbacks[{i}] is given twice, expected an object of its own")
        self.items = items
        self.has_batch_hooks = any(
            _overrides(item, "on_train_batch_begin") or _overrides(item, "on_train_batch_end")
            for item in self.items
        )
        self.slice_hooks = [item for item in self.items if _overrides(item, "on_train_slice_end")]

    def ends(self) -> list[Callable[[], Any]]:
        """Every `on_train_exit`."""
        return [item.on_train_exit for item in self.items]

    def begin(
        self, model: Any, params: dict[str, Any], train: Dataset | None, copied: Callable[[], Any]
    ) -> None:
        """Tell them model, parameters and data, then that training begins."""
        names, complete = list(params.get("logs", ())), True
        for item in self.items:
            item.set_model(model)
            item._set_data(train, copied)
            item.set_params({**params, "logs": tuple(names), "logs_complete": complete})
            names += [name for name in item.adds if name not in names]
            complete = complete and not _adds_unknown_names(item)
        self.call("on_train_begin")

    def let_go(self) -> None:
        """Take the data away."""
        for item in self.items:
            item._set_data(None, None)

    def call(self, hook: str, *args: Any, logs: Logs | None = None) -> None:
        """Call a hook of all, in order; an exception goes to the caller of fit."""
        for item in self.items:
            getattr(item, hook)(*args, logs if logs is not None else {})

    @contextmanager
    def around_validation(self) -> Iterator[None]:
        """All of their contexts, the first outermost."""
        with ExitStack() as stack:
            for item in self.items:
                stack.enter_context(item.around_validation())
            yield

    def accept(self, error: TrainingDiverged) -> bool:
        """Tell all; whether one of them ends the fit quietly."""
        answers = [bool(item.on_train_diverged(error)) for item in self.items]
        return True in answers


def _check_hooks(where: str, item: Callback) -> None:
    """Refuse a method that is nearly named as a hook: nobody would ever call it."""
    known = [name for name in vars(Callback) if not name.startswith("_")]
    own = {name for cls in type(item).__mro__ if cls is not object for name in vars(cls)}
    for name in sorted({*own, *vars(item)}):
        foreign = name.startswith(("on_predict", "on_test_batch"))  # Keras' own, which never come
        if not name.startswith(("on_", "around_")) or name in known or foreign:
            continue
        hint = checks.suggest(name, known)
        if hint and callable(getattr(item, name)):
            raise AttributeError(
                f"{where}: {type(item).__name__} has a method {name!r}, which is no hook{hint}; "
                f"hooks: {', '.join(k for k in known if k.startswith(('on_', 'around_')))}"
            )


def as_list(callbacks: Any) -> list[Any]:
    """What a user gave as callbacks: none, one, or several."""
    if callbacks is None:
        return []
    if isinstance(callbacks, (list, tuple)):
        return list(callbacks)
    if isinstance(callbacks, Callback):
        return [callbacks]
    raise TypeError(f"callbacks must be a list of Callback, got {checks.describe(callbacks)}")


def _adds_unknown_names(item: Callback) -> bool:
    """Whether a hook that sees an epoch's logs is code of the user's, which may add any name."""
    for hook in ("on_test_end", "on_epoch_end"):
        code = getattr(type(item), hook)  # whose __module__ a decorator may have copied
        module = str(getattr(code, "__globals__", {}).get("__name__", ""))
        if hook in vars(item) or module.partition(".")[0] != "bpcore":
            return not item.adds
    return False


def _overrides(item: Callback, hook: str) -> bool:
    return hook in vars(item) or getattr(type(item), hook) is not getattr(Callback, hook)
