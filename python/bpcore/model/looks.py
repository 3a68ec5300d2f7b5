"""The part of Model that shows what is in it: connections, activations, sensitivities."""

from __future__ import annotations

from typing import Any

from .. import _core
from ..base.memory import Array
from ..errors import diverged
from .leaving import Leaving


class Looks(Leaving):
    """Base of `Inspectable`, which says how the methods it takes from the model are typed."""

    name: str
    _build_for: Any
    _built: Any
    _busy: Any
    _check_pass: Any
    _compilation: Any

    @property
    def edges(self) -> list[tuple[str, str, int]]:
        """The connections: (from, to, index), layers by name; index: which input of the second.

        Examples
        --------
        >>> import bpcore as bp
        >>> a = bp.Input((3,), name="a")
        >>> h = bp.layers.Dense(3, name="h")(a)
        >>> bp.Model(a, bp.layers.Add(name="sum")([a, h])).edges
        [('a', 'h', 0), ('a', 'sum', 0), ('h', 'sum', 1)]
        """
        from ..inspection.connections import edges

        return edges(self._built().nodes)

    def to_dot(self) -> str:
        """The graph in the language of Graphviz: ``dot -Tsvg`` draws it."""
        from ..inspection.connections import to_dot

        return to_dot(self.name, self._built().nodes)

    def rounded_products(self) -> dict[str, str]:
        """The operations whose products are rounded to bfloat16, each with the CPU's instruction.

        None without ``compute="bfloat16"``; else those that are large enough for it to pay, if the
        CPU has an instruction (docs/numerics.md). Compiled with a rule of `bpcore.credit`, those of
        the rule are among them.

        Examples
        --------
        >>> import bpcore as bp
        >>> model = bp.Sequential([bp.Input((4,)), bp.layers.Dense(2)], compute="bfloat16")
        >>> model.rounded_products()
        {}
        """
        engine = self._built()
        found: dict[str, str] = dict(engine.net.rounded)
        rule = None if self._compilation is None else self._compilation.credit
        if rule is not None:
            found |= engine.trained(rule).net.rounded
        return found

    def activations(self, x: Any) -> dict[str, Any]:
        """The outputs of all layers by name, in the order they run, as `predict` computes them.

        The k-th further call of a shared layer is ``name:k``. Of sequences that are given as a list
        outputs with their steps are lists, each as long as its own, as `predict` gives them.

        Examples
        --------
        >>> import bpcore as bp
        >>> model = bp.Sequential([bp.layers.Dense(4, "relu"), bp.layers.Dense(2)], seed=0)
        >>> model.build((3,))
        >>> {name: a.shape for name, a in model.activations([[1.0, 2.0, 3.0]]).items()}
        {'dense': (1, 4), 'dense_1': (1, 2)}
        """
        from ..inspection.trace import activations

        self._check_pass("activations")
        x = self._build_for(x)
        engine = self._built()
        return activations(engine, engine.signature.read_inputs(x))

    def sensitivity(self, x: Any) -> Array:
        """How outputs depend on inputs: dy/dx (N, O, I) of each row, as `predict` computes y.

        O and I count the numbers of a sample, flat, of all outputs and of all inputs in order.

        Examples
        --------
        >>> import bpcore as bp, numpy as np
        >>> layer = bp.layers.Dense(2, kernel_initializer=np.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> model = bp.Sequential([layer], seed=0)
        >>> model.build((2,))
        >>> model.sensitivity([[5.0, 6.0]]).tolist()
        [[[1.0, 3.0], [2.0, 4.0]]]
        """
        from ..inspection.sensitivity import sensitivity

        with self._busy("sensitivity"):
            x = self._build_for(x)
            engine = self._built()
            try:
                return sensitivity(engine, engine.signature.read_inputs(x))
            except _core.Diverged as error:
                raise diverged(error, -1, None) from None
