"""Callbacks: what `fit` calls at its stations, and the History it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import checks

Logs = dict[str, float]


class Callback:
    """Base class; override what you need. Batch hooks cost nothing unless overridden.

    Attributes
    ----------
    model : Model
        Set ``model.stop_training = True`` to end after the current batch or epoch.
    params : dict
        ``epochs``, ``steps`` (batches per epoch, None if not known), ``verbose``.

    Examples
    --------
    >>> import bpcore as bp
    >>> class Stop(bp.callbacks.Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         self.model.stop_training = logs["loss"] < 0.1
    """

    model: Any = None
    params: dict[str, Any]

    def set_model(self, model: Any) -> None:
        """Called first."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called second."""
        self.params = params

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint must hold: numbers, strings, arrays, lists and dicts of them."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave, after `on_train_begin`."""

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
)


class History(Callback):
    """What `fit` returns.

    Attributes
    ----------
    history : dict of str to list of float
        ``"loss"``, metrics, ``"val_loss"``, ...: one number per epoch.
    epoch : list of int
        The epochs' numbers.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.params = {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for key, value in (logs or {}).items():
            self.history.setdefault(key, []).append(value)

    def to_pandas(self) -> Any:
        """The history as a pandas DataFrame with the epoch as index."""
        import pandas as pd  # type: ignore[import-untyped, unused-ignore]

        return pd.DataFrame(self.history, index=pd.Index(self.epoch, name="epoch"))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "model": None}

    def __repr__(self) -> str:
        last = ", ".join(f"{k}={v[-1]:.4g}" for k, v in self.history.items() if v)
        return f"<History of {len(self.epoch)} epochs{': ' if last else ''}{last}>"


class CallbackList:
    """All callbacks of a fit, checked, as one."""

    def __init__(self, callbacks: Any) -> None:
        items = _as_sequence(callbacks)
        for i, item in enumerate(items):
            if isinstance(item, type):
                raise TypeError(f"callbacks[{i}] is the class {item.__name__}, not an instance")
            if not isinstance(item, Callback):
                raise TypeError(f"callbacks[{i}] must be a Callback, got {checks.describe(item)}")
        self.items = list(items)
        self.has_batch_hooks = any(
            _overrides(item, "on_train_batch_begin") or _overrides(item, "on_train_batch_end")
            for item in self.items
        )

    def begin(self, model: Any, params: dict[str, Any]) -> None:
        """Tell them model and parameters, then that training begins."""
        for item in self.items:
            item.set_model(model)
            item.set_params(params)
        self.call("on_train_begin")

    def call(self, hook: str, *args: Any, logs: Logs | None = None) -> None:
        """Call a hook of all, in order; an exception goes to the caller of fit."""
        for item in self.items:
            getattr(item, hook)(*args, logs if logs is not None else {})


def _as_sequence(callbacks: Any) -> Sequence[Any]:
    if callbacks is None:
        return []
    if isinstance(callbacks, (list, tuple)):
        return callbacks
    if isinstance(callbacks, Callback):
        return [callbacks]
    raise TypeError(f"callbacks must be a list of Callback, got {checks.describe(callbacks)}")


def _overrides(item: Callback, hook: str) -> bool:
    return hook in vars(item) or getattr(type(item), hook) is not getattr(Callback, hook)


__all__ = ["Callback", "History", "LambdaCallback"]
