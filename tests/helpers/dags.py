"""Random graphs, built twice from one seed: as a bpcore model and as nodes of the reference.

They branch and join, skip, share layers, have one to three inputs and outputs, mix ranks, use
symbolic arithmetic, and put losses on values that other nodes consume as well.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..reference.pointwise import DEFAULT_ALPHA

SMOOTH = ("sigmoid", "tanh", "silu", "mish", "softplus", "gelu", "gelu_tanh", "linear")
KINKED = ("relu", "leaky_relu", "elu", "selu", "celu", "relu6", "hard_sigmoid", "softsign")


@dataclasses.dataclass
class Graph:
    seed: int
    nodes: list = dataclasses.field(default_factory=list)  # of the reference
    shapes: list = dataclasses.field(default_factory=list)
    symbols: list = dataclasses.field(default_factory=list)  # of bpcore, same places
    params: list = dataclasses.field(default_factory=list)
    owners: list = dataclasses.field(default_factory=list)  # (layer, index in layer.weights)
    shared: list = dataclasses.field(default_factory=list)  # (layer, input shape, units, f, ids)
    inputs: list = dataclasses.field(default_factory=list)
    outputs: list = dataclasses.field(default_factory=list)
    losses: list = dataclasses.field(default_factory=list)  # (name, option, logits, weight)
    used: set = dataclasses.field(default_factory=set)

    def put(self, op, sources, param_ids, attrs, shape, symbol):
        self.nodes.append((op, tuple(sources), tuple(param_ids), attrs))
        self.shapes.append(tuple(shape))
        self.symbols.append(symbol)
        self.used.update(sources)
        return len(self.nodes) - 1


class Builder:
    def __init__(self, bp, seed, steps=12):
        self.bp, self.L = bp, bp.layers
        self.rng = np.random.default_rng(seed)
        self.g = Graph(seed)
        for _ in range(int(self.rng.integers(1, 4))):
            width = int(self.rng.integers(1, 6))
            index = self.g.put("input", (), (), {"shape": (width,)}, (width,), bp.Input((width,)))
            self.g.inputs.append(index)
        moves = [
            self.dense,
            self.dense,
            self.again,
            self.activate,
            self.merge,
            self.merge,
            self.concatenate,
            self.arithmetic,
            self.reshape,
            self.softmax,
            self.divide,
        ]
        for _ in range(int(self.rng.integers(4, steps))):
            moves[int(self.rng.integers(len(moves)))]()
        self.finish()

    def pick(self, keep=lambda shape: True):
        """A node, more often a late one."""
        found = [i for i, s in enumerate(self.g.shapes) if keep(s)]
        if not found:
            return None
        return found[int(len(found) * self.rng.random() ** 0.6)]

    def function(self):
        names = SMOOTH + KINKED
        return names[int(self.rng.integers(len(names)))]

    def apply_dense(self, source, layer, units, f, ids):
        shape = (*self.g.shapes[source][:-1], units)
        z = self.g.put("dense", (source,), ids, {}, shape, None)
        index = z
        if f != "linear":
            attrs = {"function": f, "alpha": DEFAULT_ALPHA.get(f, 0.0)}
            op = "softmax" if f == "softmax" else "activation"
            index = self.g.put(op, (z,), (), attrs, shape, None)
        self.g.symbols[index] = layer(self.g.symbols[source])
        return index

    def dense(self, source=None, units=None, f=None):
        source = self.pick_visible(len) if source is None else source
        units = units or int(self.rng.integers(1, 6))
        f = f or self.function()
        bias = bool(self.rng.random() < 0.8)
        layer = self.L.Dense(units, activation=f, use_bias=bias)
        width = self.g.shapes[source][-1]
        first = len(self.g.params)
        self.g.params.append(self.rng.normal(size=(width, units)) / width**0.5)
        self.g.owners.append((layer, 0))
        if bias:
            self.g.params.append(self.rng.normal(size=units) * 0.3)
            self.g.owners.append((layer, 1))
        ids = tuple(range(first, len(self.g.params)))
        self.g.shared.append((layer, self.g.shapes[source], units, f, ids))
        return self.apply_dense(source, layer, units, f, ids)

    def again(self):
        """A layer called once more: its parameters are shared."""
        for layer, shape, units, f, ids in self.g.shared[::-1]:
            source = self.pick_visible(lambda s, shape=shape: s == shape)
            if source is not None:
                return self.apply_dense(source, layer, units, f, ids)
        return self.dense()

    def pick_visible(self, keep=lambda shape: True):
        """A node that has a symbol: what a fused Dense computes before f has none."""
        for _ in range(50):
            i = self.pick(keep)
            if i is None or self.g.symbols[i] is not None:
                return i
        return None

    def activate(self):
        i, f = self.pick_visible(), self.function()
        attrs = {"function": f, "alpha": DEFAULT_ALPHA.get(f, 0.0)}
        self.g.put(
            "activation", (i,), (), attrs, self.g.shapes[i], self.L.Activation(f)(self.g.symbols[i])
        )

    def softmax(self):
        i = self.pick_visible()
        self.g.put(
            "softmax",
            (i,),
            (),
            {},
            self.g.shapes[i],
            self.L.Activation("softmax")(self.g.symbols[i]),
        )

    def partner(self, i):
        """Another node of i's shape; made by a Dense where there is none."""
        shape = self.g.shapes[i]
        j = self.pick_visible(lambda s: s == shape)
        if j is None or (j == i and self.rng.random() < 0.7):
            other = self.pick_visible(lambda s: s[:-1] == shape[:-1])
            j = self.dense(other, shape[-1], self.function())
        return j

    def merge(self):
        i = self.pick_visible()
        j = self.partner(i)
        op = ("add", "multiply", "maximum", "average", "subtract")[int(self.rng.integers(5))]
        if op == "maximum" and i == j:
            op = "add"  # the derivative at a tie is a convention, not a fact
        symbol = getattr(self.L, op.capitalize())()([self.g.symbols[i], self.g.symbols[j]])
        self.g.put(op, (i, j), (), {}, self.g.shapes[i], symbol)

    def concatenate(self):
        i = self.pick_visible()
        lead = self.g.shapes[i][:-1]
        j = self.pick_visible(lambda s: s[:-1] == lead)
        shape = (*lead, self.g.shapes[i][-1] + self.g.shapes[j][-1])
        if shape[-1] <= 12:
            self.g.put(
                "concatenate",
                (i, j),
                (),
                {"axis": len(lead)},
                shape,
                self.L.Concatenate()([self.g.symbols[i], self.g.symbols[j]]),
            )

    def constant(self, value):
        return self.g.put("constant", (), (), {"value": np.array(value)}, (), None)

    def arithmetic(self):
        """x * c + y with Python's operators."""
        i = self.pick_visible()
        j, c = self.partner(i), float(np.round(self.rng.normal(), 3))
        k = self.constant(c)
        x, y = self.g.symbols[i], self.g.symbols[j]
        scaled = self.g.put("multiply", (i, k), (), {}, self.g.shapes[i], None)
        self.g.put("add", (scaled, j), (), {}, self.g.shapes[i], x * c + y)
        self.g.used.update((scaled, k))

    def divide(self):
        """x / (1 + sigmoid(y)): never near zero."""
        i = self.pick_visible()
        j = self.partner(i)
        shape = self.g.shapes[i]
        s = self.g.put(
            "activation",
            (j,),
            (),
            {"function": "sigmoid", "alpha": 0.0},
            shape,
            self.L.Activation("sigmoid")(self.g.symbols[j]),
        )
        one = self.constant(1.0)
        below = self.g.put("add", (s, one), (), {}, shape, 1.0 + self.g.symbols[s])
        self.g.put("divide", (i, below), (), {}, shape, self.g.symbols[i] / self.g.symbols[below])

    def reshape(self):
        i = self.pick_visible()
        shape = self.g.shapes[i]
        size = int(np.prod(shape))
        new = (size,) if len(shape) > 1 else ((2, size // 2) if size % 2 == 0 else (1, size))
        layer = self.L.Flatten() if len(new) == 1 else self.L.Reshape(new)
        self.g.put("reshape", (i,), (), {"shape": new}, new, layer(self.g.symbols[i]))

    def finish(self):
        """Losses: on every value nobody uses, so that nothing is idle, and on one that is used."""
        g = self.g
        loose = [i for i in range(len(g.nodes)) if i not in g.used and g.symbols[i] is not None]
        inner = [i for i in sorted(g.used) if g.symbols[i] is not None and i not in g.inputs]
        if inner and self.rng.random() < 0.5:
            loose.append(inner[int(self.rng.integers(len(inner)))])
        for i in loose:
            if i in g.inputs or self.rng.random() < 0.4:
                self.classify(i)
            else:
                names = ("mean_squared_error", "half_squared_error", "huber", "log_cosh")
                name = names[int(self.rng.integers(len(names)))]
                g.outputs.append(i)
                g.losses.append((name, 1.0 if name == "huber" else None, False, self.weight()))

    def classify(self, i):
        """A head of its own, logits or probabilities; sometimes its value is used again."""
        g, units = self.g, int(self.rng.integers(2, 5))
        if len(g.shapes[i]) > 1:
            size = int(np.prod(g.shapes[i]))
            symbol = self.L.Flatten()(g.symbols[i])
            i = g.put("reshape", (i,), (), {"shape": (size,)}, (size,), symbol)
        ending = "softmax" if self.rng.random() < 0.5 else "linear"
        head = self.dense(i, units, ending)
        g.outputs.append(head)
        g.losses.append(("cross_entropy", None, ending == "linear", self.weight()))
        if self.rng.random() < 0.3:
            g.outputs.append(self.dense(head, 2, "tanh"))
            g.losses.append(("mean_squared_error", None, False, self.weight()))

    def weight(self):
        return float(np.round(self.rng.uniform(0.3, 2), 2))


def build(bp, seed, dtype="float64"):
    """(graph, model); the model's weights are the graph's, its losses are compiled in."""
    g = Builder(bp, seed).g
    model = bp.Model(
        [g.symbols[i] for i in g.inputs], [g.symbols[i] for i in g.outputs], dtype=dtype, seed=0
    )
    for value, (layer, k) in zip(g.params, g.owners, strict=True):
        layer.weights[k].value = value
    model.compile(
        optimizer="sgd",
        loss=[name for name, *_ in g.losses],
        loss_weights=[w for *_, w in g.losses],
    )
    return g, model


def data(g, rows=4):
    """Inputs and targets, in the order of the graph's inputs and outputs."""
    rng = np.random.default_rng(g.seed + 1_000_000)
    xs = [rng.normal(size=(rows, *g.shapes[i])) for i in g.inputs]
    ys = []
    for i, (name, *_) in zip(g.outputs, g.losses, strict=True):
        shape = (rows, *g.shapes[i])
        ys.append(
            rng.integers(0, shape[-1], rows) if name == "cross_entropy" else rng.normal(size=shape)
        )
    return xs, ys
