"""Recurrent layers in C: a loop over the steps of a sequence, around the cell of each kind."""

from __future__ import annotations

# From z = x W + b to the new h (and c), of u units: gates, states, whether gates have a function s
# of their own, and the statements.
_BODIES = {
    "simple_rnn": (
        1,
        1,
        False,
        """\
    @add_product(h, r, z, u, u);
    for (i = 0; i < u; i++) h[i] = f(z[i]);
""",
    ),
    "lstm": (
        4,
        2,
        True,
        """\
    @add_product(h, r, z, u, 4 * u);
    for (i = 0; i < u; i++) {
      real *c = h + u;
      c[i] = s(z[u + i]) * c[i] + s(z[i]) * f(z[2 * u + i]);
      h[i] = s(z[3 * u + i]) * f(c[i]);
    }
""",
    ),
    "gru": (
        3,
        1,
        True,
        """\
    @add_product(h, r, z, u, 2 * u);
    for (i = 0; i < u; i++) q[i] = s(z[u + i]) * h[i];
    @add_product(q, r + 2 * u * u, z + 2 * u, u, u);
    for (i = 0; i < u; i++) {
      real keep = s(z[i]);
      h[i] = keep * h[i] + (R(1) - keep) * f(z[2 * u + i]);
    }
""",
    ),
    "gru_after": (
        3,
        1,
        True,
        """\
    @dense(h, r, b ? b + 3 * u : b, q, 1, u, 3 * u);
    for (i = 0; i < u; i++) {
      real keep = s(z[i] + q[i]), reset = s(z[u + i] + q[u + i]);
      h[i] = keep * h[i] + (R(1) - keep) * f(z[2 * u + i] + reset * q[2 * u + i]);
    }
""",
    ),
}
_RECURRENT = """\
/* h holds the states, and goes on from what is there; y_t = 0 where a step does not count. */
static void @CELL(const @sequence *g, const real *x, const real *mask, const real *w,
                  const real *r, const real *b, real (*f)(real), GATES
                  real *h, real *z, real *y) {
  long k, i, u = g->units;
  INNER
  for (k = 0; k < g->steps; k++) {
    long t = g->backwards ? g->steps - 1 - k : k;
    if (mask && mask[t] == R(0)) {
      if (g->every_step) @zero(y + t * u, u);
      continue;
    }
    @dense(x + t * g->features, w, b, z, 1, g->features, WIDTH);
BODY\
    if (g->every_step) @copy(h, y + t * u, u);
  }
  y += g->every_step ? g->steps * u : 0;
  if (!g->every_step) {
    @copy(h, y, u);
    y += u;
  }
  if (g->states) @copy(h, y, STATES);
}
"""


def _recurrent(cell: str) -> str:
    gates, states, gated, body = _BODIES[cell]
    told = {
        "CELL": cell,
        " GATES": " real (*s)(real)," if gated else "",
        "  INNER\n": f"  real *q = z + {gates} * u;\n" if "q[" in body else "",
        "WIDTH": f"{gates} * u" if gates > 1 else "u",
        "BODY\\\n": body,
        "BODY": body,
        "STATES": f"{states} * u" if states > 1 else "u",
    }
    text = _RECURRENT
    for word, value in told.items():
        text = text.replace(word, value)
    return text


CELLS = {cell: _recurrent(cell) for cell in _BODIES}
# Of each cell, in units: states, and what it works in, which is z and what else it needs.
ROOM = {"simple_rnn": (1, 1), "lstm": (2, 4), "gru": (1, 4), "gru_after": (1, 6)}
