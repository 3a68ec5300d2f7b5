"""FixedPoint: a layer whose result is where a recurrent cell comes to rest."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..base import checks
from ..base.memory import Array, Shape
from ..errors import ConvergenceError, ConvergenceWarning, ShapeError, warn
from .base import Layer
from .cells import adopt, check_cell, state_sizes

_HISTORY = 5  # earlier steps that Anderson's acceleration looks at
_TINY = 1e-300


class Report(NamedTuple):
    """How the last forward pass went, by row: its iterations, the relative size of the last change,
    and an estimate of the spectral radius of the cell's Jacobian, the ratio of the last changes."""

    iterations: Array
    residual: Array
    spectral_radius: Array


class FixedPoint(Layer):
    """h with h = F(h, x): recurrent backpropagation, or a deep equilibrium.

    Parameters
    ----------
    cell : Model or Layer
        F: a ``bp.Model([h, x], h_next)``, or a cell as in `RNN` with one state.
    solver : {"iterate", "anderson"}
        How forward gets there: h <- F(h, x) from 0, or with Anderson's acceleration, which
        combines the last 5 steps.
    tol : float
        A row is done when its change is at most this part of its length.
    max_iter : int
    damping : float
        In [0, 1): h <- (1 - damping) F(h, x) + damping h.
    backward : {"iterate", "neumann", "direct"}
        How the adjoint z = J^T z + dL/dh is solved: by iteration to `backward_tol`; by the sum g +
        J^T g + ... + (J^T)^K g, K = `backward_iter`, which is backpropagation through K steps at
        the fixed point; or by elimination with the Jacobian of each row.
    backward_tol : float
    backward_iter : int
    on_fail : {"raise", "warn"}
        What happens where a row does not converge: ConvergenceError, or a warning, and on.
    name, trainable, dtype
        As in `Layer`.

    Attributes
    ----------
    report : Report
        Of the last forward pass.

    Raises
    ------
    ConvergenceError
        A row did not converge, in forward or backward; it is named with its residual.

    Notes
    -----
    Memory does not depend on the number of iterations: backward needs the fixed point alone. Each
    row has its own stopping test and history and is left alone once it is done, so its bits do not
    depend on the other rows. Gradients: with J = dF/dh at the fixed point, z = (I - J^T)^-1 dL/dh,
    then dL/dw = z^T dF/dw and dL/dx = z^T dF/dx (L. Almeida; F. Pineda, 1987; S. Bai et al., 2019).
    Both iterations converge where the spectral radius of J is below 1.

    Examples
    --------
    >>> import bpcore as bp
    >>> h, x = bp.Input((1,)), bp.Input((1,))
    >>> half = bp.layers.Dense(1, use_bias=False, kernel_initializer=[[0.5]])(h)
    >>> layer = bp.layers.FixedPoint(bp.Model([h, x], half + x))  # h = h / 2 + x
    >>> layer([[3.0]]).round(4).tolist()
    [[6.0]]
    """

    def __init__(
        self,
        cell: Any,
        solver: str = "iterate",
        tol: float = 1e-6,
        max_iter: int = 100,
        damping: float = 0.0,
        backward: str = "iterate",
        backward_tol: float = 1e-6,
        backward_iter: int = 50,
        on_fail: str = "raise",
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.map: Any = _map_of(cell)
        self.solver = _one_of("solver", solver, ("iterate", "anderson"))
        self.tol = checks.real("tol", tol, 0.0, open_low=True)
        self.max_iter = checks.integer("max_iter", max_iter)
        self.damping = checks.real("damping", damping, 0.0, 1.0, open_high=True)
        self.adjoint = _one_of("backward", backward, ("iterate", "neumann", "direct"))
        self.backward_tol = checks.real("backward_tol", backward_tol, 0.0, open_low=True)
        self.backward_iter = checks.integer("backward_iter", backward_iter, 0)
        self.on_fail = _one_of("on_fail", on_fail, ("raise", "warn"))
        self.report: Report | None = None
        self._h: Any = None
        self._x: Any = None

    def _models(self) -> dict[str, Any]:
        return {"cell": self.map.model} if isinstance(self.map, _ModelMap) else {}

    def build(self, input_shape: Any) -> None:
        """Take the cell's weights."""
        self.map.adopt(self, tuple(input_shape))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; a model as the cell with its layers and connections."""
        if not isinstance(self.map, _ModelMap):
            return super().get_config()
        held, self._config_args = self._config_args, {**self._config_args, "cell": None}
        try:
            return {**super().get_config(), "cell": self.map.described()}
        finally:
            self._config_args = held

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if isinstance(self.map, _ModelMap):
            part = self.map.model
            state["map"] = type(part), part.__getstate__()
            state["_config_args"] = {**self._config_args, "cell": None}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.map, tuple):  # a model's network names its weights by this layer
            kind, told = self.map
            part = object.__new__(kind)
            part.__setstate__(told)
            self.map, self._config_args["cell"] = _ModelMap(part), part

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return (int(self.map.size),)

    def forward(self, x: Any, training: bool = False) -> Array:
        """The fixed points (N, H) for x."""
        x = np.ascontiguousarray(x, dtype=self.dtype)
        h = np.zeros((len(x), self.map.size), self.dtype)
        step = self._relax if self.solver == "iterate" else self._accelerate
        h, report = step(h, x)
        self.report = report
        self._fail("forward", report.residual, self.tol)
        self._h, self._x = h, x
        return h

    def _fail(self, what: str, residual: Array, tol: float) -> None:
        bad = ~(residual <= tol)
        if not bad.any():
            return
        row = int(np.flatnonzero(bad)[0])
        text = (
            f"{self.label}: {what}: row {row} did not converge (residual {residual[row]:.3g}, "
            f"expected at most {tol:g}; {int(bad.sum())} of {len(bad)} rows); allow more "
            "iterations, damp, or make the cell's weights smaller"
        )
        if self.on_fail == "raise":
            raise ConvergenceError(text)
        warn(text, ConvergenceWarning)

    def _relax(self, h: Array, x: Array) -> tuple[Array, Report]:
        """h <- F(h, x), row by row until it rests."""
        own = _Progress(len(h))
        for _ in range(self.max_iter):
            rows = own.rows()
            if not len(rows):
                break
            new = self.map.value(h[rows], x[rows])
            if self.damping:
                new = (1 - self.damping) * new + self.damping * h[rows]
            change = _length(new - h[rows])
            h[rows] = new
            own.note(rows, change / (_length(new) + _TINY), self.tol)
        return h, own.report()

    def _accelerate(self, h: Array, x: Array) -> tuple[Array, Report]:
        """Anderson (1965), type II with up to `_HISTORY` differences: the combination of the last
        steps whose residual is least."""
        own = _Progress(len(h))
        kept: list[tuple[Array, Array]] = []  # h, F(h) - h of all rows
        for _ in range(self.max_iter):
            rows = own.rows()
            if not len(rows):
                break
            value = self.map.value(h[rows], x[rows])
            residual = np.zeros_like(h)
            residual[rows] = value - h[rows]
            own.note(rows, _length(residual[rows]) / (_length(value) + _TINY), self.tol)
            share = 1 - self.damping
            new = value if self.damping == 0 else h[rows] + share * residual[rows]
            if kept:
                dh = np.stack([h[rows] - a[rows] for a, _ in kept], axis=1)
                dr = np.stack([residual[rows] - r[rows] for _, r in kept], axis=1)
                weights = _least_squares(dr, residual[rows])
                new = new - (weights[:, :, None] * (dh + share * dr)).sum(axis=1)
            kept = [*kept, (h.copy(), residual)][-_HISTORY:]
            h[rows] = new.astype(h.dtype)
        return h, own.report()

    # ---- back -----------------------------------------------------------------------------------
    def backward(self, dy: Any) -> Array:
        """dL/dx; adds to each weight's ``grad``."""
        g = np.asarray(dy, dtype=self.dtype)
        solve = {"iterate": self._iterate, "neumann": self._neumann, "direct": self._eliminate}
        z = solve[self.adjoint](g)
        dx: Array = self.map.back(self._h, self._x, z, weights=True)[1]
        return dx

    def _through(self, z: Array, rows: Any) -> Array:
        """J^T z."""
        found: Array = self.map.back(self._h[rows], self._x[rows], z, weights=False)[0]
        return found

    def _iterate(self, g: Array) -> Array:
        z: Array = g.copy()
        own = _Progress(len(g))
        for _ in range(max(self.backward_iter, 1)):
            rows = own.rows()
            if not len(rows):
                break
            new = g[rows] + self._through(z[rows], rows)
            change = _length(new - z[rows])
            z[rows] = new
            own.note(rows, change / (_length(new) + _TINY), self.backward_tol)
        self._fail("backward", own.residual, self.backward_tol)
        return z

    def _neumann(self, g: Array) -> Array:
        z: Array = g.copy()
        term = g
        everything = slice(None)
        for _ in range(self.backward_iter):
            term = self._through(term, everything)
            z = z + term
        return z

    def _eliminate(self, g: Array) -> Array:
        n, size = g.shape
        j = np.empty((n, size, size))  # row i of each: dF_i/dh
        unit = np.zeros_like(g)
        for i in range(size):
            unit[:] = 0
            unit[:, i] = 1
            j[:, i] = self._through(unit, slice(None))
        a = np.eye(size) - j.swapaxes(1, 2)
        return solve_each(a, g.astype(np.float64)).astype(self.dtype)


class _Progress:
    """Which rows still move, and how they got there."""

    def __init__(self, n: int) -> None:
        self.moves = np.ones(n, bool)
        self.iterations = np.zeros(n, np.int64)
        self.residual, self.before = np.full(n, np.inf), np.full(n, np.inf)

    def rows(self) -> Array:
        return np.flatnonzero(self.moves)

    def note(self, rows: Array, residual: Array, tol: float) -> None:
        self.iterations[rows] += 1
        self.before[rows], self.residual[rows] = self.residual[rows], residual
        self.moves[rows[~(residual > tol)]] = False

    def report(self) -> Report:
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = self.residual / self.before
        ratio = np.where(np.isfinite(self.before) & (self.before > 0), ratio, 0.0)
        return Report(self.iterations, self.residual, ratio)


class _ModelMap:
    """A model of h and x as F."""

    def __init__(self, model: Any) -> None:
        self.model = model
        shapes = [t.shape for t in (*model.inputs, *model.outputs)]
        if len(shapes) != 3 or len(shapes[0]) != 1 or shapes[0] != shapes[2]:
            raise ShapeError(
                f"cell: got a model with inputs and outputs of shapes {shapes}, expected "
                "Model([h, x], h_next) with h and h_next of one shape (H,)"
            )
        self.size = shapes[0][0]

    def described(self) -> dict[str, Any]:
        config = {key: v for key, v in self.model.get_config().items() if key != "compile"}
        # Which weights do not move is told of the layer around, whose they are.
        config["layers"] = [{**entry, "frozen": []} for entry in config["layers"]]
        return {"class_name": "Model", "config": config}

    def adopt(self, owner: Layer, shape: Shape) -> None:
        told = tuple(self.model.inputs[1].shape)
        if told != shape:
            raise ShapeError(f"{owner.label}: got x of shape {shape}, its cell takes {told}")
        if self.model.dtype != owner.dtype:
            raise ValueError(
                f"{owner.label}: the cell has dtype {self.model.dtype}, expected {owner.dtype}; "
                "make it with this dtype"
            )
        for p in self.model.weights:
            p.local_name = p.name.replace("/", "_")
            p._owner = owner
        owner._weights += self.model.weights

    def value(self, h: Array, x: Array) -> Array:
        found: Array = self.model.predict([h, x])
        return found

    def back(self, h: Array, x: Array, z: Array, *, weights: bool) -> tuple[Array, Array]:
        self.model.forward([h, x], training=False)
        dh, dx = self.model.backward(z, parameters=weights)
        return dh, dx


class _CellMap:
    """A cell in Python as F."""

    def __init__(self, cell: Any) -> None:
        check_cell("cell", cell)
        sizes = state_sizes(cell)
        if len(sizes) != 1:
            raise ValueError(f"cell: got {len(sizes)} states, expected one")
        self.cell, self.size = cell, sizes[0]

    def adopt(self, owner: Layer, shape: Shape) -> None:
        adopt(owner, self.cell, shape)

    def value(self, h: Array, x: Array) -> Array:
        found: Array = np.asarray(self.cell.forward(x, [h])[1][0])
        return found

    def back(self, h: Array, x: Array, z: Array, *, weights: bool) -> tuple[Array, Array]:
        held = [] if weights else [p.grad.copy() for p in self.cell.weights]
        y, _ = self.cell.forward(x, [h])
        dx, (dh,) = self.cell.backward(np.zeros_like(y), [z])
        for p, g in zip(self.cell.weights, held, strict=False):
            p.grad[...] = g
        return np.asarray(dh), np.asarray(dx)


def _map_of(cell: Any) -> Any:
    is_model = hasattr(cell, "inputs") and hasattr(cell, "predict")
    return _ModelMap(cell) if is_model else _CellMap(cell)


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{name} must be one of {known}, got {value!r}")
    return str(value)


def _length(a: Array) -> Array:
    result: Array = np.sqrt(np.square(a, dtype=np.float64).sum(axis=1))
    return result


def _least_squares(d: Array, r: Array) -> Array:
    """By row the weights w (M,) that make r - w d least, d (M, H)."""
    d, r = d.astype(np.float64), r.astype(np.float64)
    gram = (d[:, :, None] * d[:, None]).sum(axis=3)
    some = np.trace(gram, axis1=1, axis2=2)[:, None, None] * 1e-12 + 1e-30
    return solve_each(gram + some * np.eye(gram.shape[1]), (d * r[:, None]).sum(axis=2))


def solve_each(a: Array, b: Array) -> Array:
    """x with a x = b for each of N systems, by elimination with partial pivoting.

    Row by row in a fixed order: a system's bits depend on no other one, nor on a library's threads.
    """
    a, b = a.copy(), b.copy()
    n, size = b.shape
    every = np.arange(n)
    for k in range(size):
        pivot = k + np.abs(a[:, k:, k]).argmax(axis=1)
        a[every, k], a[every, pivot] = a[every, pivot].copy(), a[every, k].copy()
        b[every, k], b[every, pivot] = b[every, pivot].copy(), b[every, k].copy()
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = a[:, k + 1 :, k] / a[:, k, k, None]
        a[:, k + 1 :] -= factor[:, :, None] * a[:, k, None]
        b[:, k + 1 :] -= factor * b[:, k, None]
    x = np.empty_like(b)
    for k in reversed(range(size)):
        rest = b[:, k].copy()
        for i in range(k + 1, size):
            rest -= a[:, k, i] * x[:, i]
        x[:, k] = rest / a[:, k, k]
    return x
