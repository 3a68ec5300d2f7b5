"""The operations of rules: their routes by formula, on the worst terms that a plan may set.

In a rehearsal a batch counts as one sample, so that N is 1 in the formulas.
"""

from __future__ import annotations

import numpy as np
import pytest

from bpcore import _core

from .helpers import support
from .helpers.rows import PATTERNS, TERMS

ROWS = 7


def sizes(dtype):
    return (1, 3, 16, 33) if dtype == "float32" else (1, 8, 17)


class Case:
    """A network of one operation on inputs: (nodes, arrays of parameters, trainable)."""

    def __init__(self, op, shapes, params, attrs, expected, trained=()):
        self.op, self.shapes, self.params, self.attrs = op, shapes, params, attrs
        self.expected, self.trained = expected, trained

    def rehearse(self, dtype, xs, dy, ws, **terms):
        nodes = [("input", (), (), {"shape": s}, f"x{i}") for i, s in enumerate(self.shapes)]
        inputs, count = tuple(range(len(nodes))), range(len(self.params))
        nodes.append((self.op, inputs, tuple(count), self.attrs, self.op))
        names, flags = [f"w{i}" for i in count], [i in self.trained for i in count]
        net = _core.Network(dtype, nodes, [len(nodes) - 1], ws, names, flags)
        return _core.rehearse(net, xs, [dy], **terms)


def feedback(n):
    def expected(xs, dy, ws):
        return xs[0], [dy, dy @ ws[0].T]

    return Case("feedback", [(4,), (n,)], [(n, 4)], {}, expected)


def synthetic(n):
    def expected(xs, dy, ws):
        return xs[0], [xs[1], 2 * (xs[1] - dy)]

    return Case("synthetic", [(n,), (n,)], [], {}, expected)


def difference(function, by_sign):
    def of(n):
        def expected(xs, dy, ws):
            f = np.tanh if function == "tanh" else lambda z: z
            s = np.sign if by_sign else lambda u: u
            g = lambda u: f(s(u) @ ws[0] + ws[1])  # noqa: E731
            return xs[1], [2 * (g(xs[1]) - g(xs[1] - dy / 2)), dy]

        attrs = {"function": function, "by_sign": by_sign}
        return Case("difference", [(5,), (n,)], [(n, 5), (5,)], attrs, expected, (0, 1))

    return of


def stop(rate):
    def of(n):
        def expected(xs, dy, ws):
            return xs[0], [rate * dy]

        return Case("stop", [(n,)], [], {"rate": rate}, expected)

    return of


CASES = {
    "feedback": feedback, "synthetic": synthetic, "stop": stop(0.4),
    "difference": difference("linear", False), "difference of tanh": difference("tanh", False),
    "difference of signs": difference("tanh", True),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_routes(name, dtype):
    rng = np.random.default_rng(len(name))
    for n in sizes(dtype):
        case = CASES[name](n)
        xs = [rng.normal(size=(ROWS, *s)).astype(dtype) for s in case.shapes]
        ws = [(rng.normal(size=s) / np.sqrt(n)).astype(dtype) for s in case.params]
        y, dxs = case.expected(xs, (dy := rng.normal(size=(ROWS, *case.shapes[-1])).astype(dtype))
                               if name != "feedback" else
                               (dy := rng.normal(size=(ROWS, 4)).astype(dtype)), ws)  # fmt: skip
        first = None
        for pattern, terms in zip(PATTERNS, TERMS, strict=True):
            found = case.rehearse(dtype, xs, dy, ws, pattern=pattern, **terms)
            parts = [*found[0], *found[1], *found[2]]
            first = first or parts
            assert all(support.same_bits(a, b) for a, b in zip(parts, first, strict=True))
        eps = 100 * np.finfo(dtype).eps
        for a, b in zip(first, [y, *dxs], strict=False):
            np.testing.assert_allclose(a, b, rtol=eps, atol=eps * np.abs(b).max(initial=1))
        assert all(not g.any() for g in found[2])  # its parameters learn elsewhere
        added = case.rehearse(dtype, xs, dy, ws, add=True, block=3, pattern=PATTERNS[-1], shift=1)
        for a, b in zip(added[1], dxs, strict=True):
            np.testing.assert_allclose(a, b + 1, rtol=eps, atol=eps * np.abs(b + 1).max(initial=1))


@pytest.mark.parametrize("op, shapes, params, attrs, what", [
    ("feedback", [(4,), (3,)], [(4, 3)], {}, "feedback of shape"),
    ("synthetic", [(4,), (3,)], [], {}, "a gradient of its shape"),
    ("difference", [(4,), (3,)], [(4, 3), (3,)], {"function": "tanh"}, "an inverse of shape"),
    ("difference", [(4,), (3,)], [(3, 4), (4,)], {"function": "nothing"}, "unknown activation"),
    ("target", [], [], {"shape": (3,)}, "output"),
])  # fmt: skip
def test_sizes_that_do_not_fit(op, shapes, params, attrs, what):
    case = Case(op, [*shapes, *([(1,)] if op == "target" else [])], params, attrs, None)
    ws = [np.ones(s) for s in params]
    with pytest.raises(ValueError, match=what):
        case.rehearse("float64", [np.ones((2, *s)) for s in case.shapes], np.ones((2, 4)), ws)
