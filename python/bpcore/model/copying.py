"""The part of Model that takes weights from elsewhere, and gives them away."""

from __future__ import annotations

import copy
import itertools
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core, graph
from ..base import checks, seeding
from ..base.counters import Counters
from ..errors import FormatError, ShapeError
from ..graph.parameter import Parameter, assign, check_writable
from ..layers.base import Layer
from .stepwise import Stepwise

if TYPE_CHECKING:
    from typing_extensions import Self


class Copying(Stepwise):
    """Base of `Trainable`."""

    seed: int
    _seed_told: bool
    _counters: Counters
    _sampled: int
    _layers: list[Layer]
    _nodes: list[graph.Node]
    _inputs: list[graph.Tensor]
    _outputs: list[graph.Tensor]

    def __getstate__(self) -> dict[str, Any]:
        raise NotImplementedError

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise NotImplementedError

    def _build_graph(
        self, nodes: list[graph.Node], ins: list[graph.Tensor], outs: list[graph.Tensor]
    ) -> None:
        raise NotImplementedError

    @property
    def weights(self) -> list[Parameter]:
        """All parameters, in the order of the layers."""
        raise NotImplementedError

    def clone(self, weights: bool = True) -> Self:
        """A model of the same architecture and dtype, with layers of its own; not compiled.

        Parameters
        ----------
        weights : bool
            True: with copies of the weights. False: they are drawn anew, from the next seed
            (`bpcore.set_seed`), by the layers' initializers.

        Examples
        --------
        >>> import bpcore as bp
        >>> model = bp.Sequential([bp.Input((2,)), bp.layers.Dense(3)], seed=0)
        >>> target = model.clone()
        >>> bool((target.weights[0].value == model.weights[0].value).all())
        True
        """
        checks.boolean("weights", weights)
        with self._busy("clone"):
            counters = Counters(self._counters.stream)
            state = {**self.__getstate__(), "_compilation": None, "_counters": counters}
            twin: Self = object.__new__(type(self))
            twin.__setstate__(copy.deepcopy(state))
        twin._sampled = 0
        if not weights:
            twin._draw_anew()
        return twin

    def _draw_anew(self) -> None:
        self.seed, self._seed_told = seeding.next_seed(), seeding.is_set()
        self._counters.stream = 0
        built = self._nodes and any(layer.built for layer in self._layers)
        for layer in self._layers:
            layer._weights, layer._brick, layer._seed = [], None, self.seed
            layer._next_stream = self._counters.next_stream
            if not layer.is_input:
                layer._input_shape = None
        if built:
            self._build_graph(self._nodes, self._inputs, self._outputs)

    def polyak_update(self, source: Any, tau: float) -> None:
        """Move all weights towards those of another model: w <- (1 - tau) w + tau source.

        Running statistics move, too. For target networks, whose weights follow slowly.

        Parameters
        ----------
        source : Model
            Of the same weights in order, shape and dtype, as `clone` gives it.
        tau : float
            From 0 (nothing moves) to 1 (a copy).

        Examples
        --------
        >>> import bpcore as bp
        >>> model = bp.Sequential([bp.Input((1,)), bp.layers.Dense(1, kernel_initializer="ones")])
        >>> target = model.clone()
        >>> model.set_weights([[[3.0]], [1.0]])
        >>> target.polyak_update(model, 0.25)
        >>> [w.tolist() for w in target.get_weights()]
        [[[1.5]], [0.25]]
        """
        tau = checks.real("tau", tau, 0.0, 1.0)
        with self._busy("polyak_update"):
            self._built()
            theirs = getattr(source, "weights", None)
            if not isinstance(source, Copying) or theirs is None:
                raise TypeError(f"source must be a Model, got {checks.describe(source)}")
            own = self.weights
            if not _core.blend([p.held() for p in own], [p.held() for p in theirs], tau):
                self._refuse_to_blend(own, theirs, source.name)
            if tau == 1.0:
                for p, q in zip(own, theirs, strict=True):
                    if p.exact is not None:
                        p.exact[...] = q.unrounded()

    def _refuse_to_blend(self, own: list[Parameter], theirs: list[Parameter], name: str) -> None:
        shapes = [[f"{p.dtype} {p.shape}" for p in model] for model in (own, theirs)]
        for k, (here, there) in enumerate(itertools.zip_longest(*shapes, fillvalue="nothing")):
            if here != there:
                raise ShapeError(
                    f"source {name!r} has weights of another model: weights[{k}] is {there}, "
                    f"expected {here} as in {self.name!r}; make one of the two by clone()"
                )
        check_writable(own)

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the weights alone to a safetensors file, under their names; see `load_weights`.

        Raises
        ------
        NotBuiltError
            The model has no weights yet.
        OSError
            The file could not be written; an existing one is unchanged.
        """
        from ..files import container, save
        from ..files.atomic import write_atomically

        name = checks.path(path)
        self._built(": nothing to save")
        arrays = {key: array.copy() for key, array in save.arrays_of(self, rule=False).items()}
        write_atomically(name, container.pack({"kind": "weights"}, arrays, 1))

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Take the weights from a file of `save_weights` or `save`; by their names, all or none.

        Raises
        ------
        FormatError
            The file is damaged, or its weights are not exactly this model's by name, shape and
            dtype; nothing was changed.
        OSError
            The file cannot be read.

        Examples
        --------
        >>> import bpcore as bp, tempfile, os
        >>> model = bp.Sequential([bp.Input((2,)), bp.layers.Dense(1)], seed=0)
        >>> path = os.path.join(tempfile.mkdtemp(), "w.safetensors")
        >>> model.save_weights(path)
        >>> other = model.clone(weights=False)
        >>> other.load_weights(path)
        >>> bool((other.weights[0].value == model.weights[0].value).all())
        True
        """
        from ..files import container, save

        name = checks.path(path)
        with self._busy("load_weights"):
            self._built(": nowhere to load to")
            content = container.read(name)
            file = container.shown(name, 1000)
            kind = content.document.get("kind", "model")
            if kind not in ("weights", "model"):
                raise FormatError(
                    f"{file}: holds a {container.shown(str(kind))}, expected weights or a model"
                )
            save.check_weights(self, content.arrays, file)
            assign(self.weights, [np.asarray(content.arrays[p.name]) for p in self.weights])
