"""The kernels in C: one function for each kind of operation, for one sample."""

from __future__ import annotations

from .cells import CELLS
from .int8_kernels import EIGHT

MOST_AXES = 16  # of `broadcast`

_STRUCTS = {
    "windows": """\
/* Windows of r x s positions that slide over an image of h x w, of c channels, to p x q positions
   of k channels. */
typedef struct {
  long h, w, c, r, s, p, q, k, stride_h, stride_w, dilation_h, dilation_w, top, left, groups;
} @windows;
""",
    "sequence": """\
/* A sequence of steps of so many features, for so many units. */
typedef struct {
  long steps, features, units;
  int backwards, every_step, states;
} @sequence;
""",
}


def _mask(name: str, data: str, value: str) -> str:
    """The kernel that tells from data of a type in C which steps count."""
    return f"""\
/* 0 for steps all of whose values are `value`, 1 for the others. */
static void @{name}(const {data} *x, real *mask, long steps, long n, {value} value) {{
  long t, i;
  for (t = 0; t < steps; t++, x += n) {{
    for (i = 0; i < n && x[i] == value; i++) {{
    }}
    mask[t] = i == n ? R(0) : R(1);
  }}
}}
"""


_PLAIN = {
    "copy": """\
static void @copy(const real *x, real *y, long n) {
  long i;
  for (i = 0; i < n; i++) y[i] = x[i];
}
""",
    "zero": """\
static void @zero(real *y, long n) {
  long i;
  for (i = 0; i < n; i++) y[i] = R(0);
}
""",
    "map": """\
/* y = f(x); y may be x. */
static void @map(real (*f)(real), const real *x, real *y, long n) {
  long i;
  for (i = 0; i < n; i++) y[i] = f(x[i]);
}
""",
    "pair": """\
/* y = f(a, b); y may be a. */
static void @pair(real (*f)(real, real), const real *a, const real *b, real *y, long n) {
  long i;
  for (i = 0; i < n; i++) y[i] = f(a[i], b[i]);
}
""",
    "broadcast": """\
/* y = f(a, b), of which some axes are repeated: for each axis its length and the steps of a, b. */
static void @broadcast(real (*f)(real, real), const real *a, const real *b, real *y,
                       const long (*axes)[3], long rank) {
  long at[16] = {0}, i = 0, j = 0, k, n = 0;
  for (;;) {
    y[n++] = f(a[i], b[j]);
    for (k = rank - 1; k >= 0; k--) {
      i += axes[k][1], j += axes[k][2];
      if (++at[k] < axes[k][0]) break;
      i -= axes[k][0] * axes[k][1], j -= axes[k][0] * axes[k][2];
      at[k] = 0;
    }
    if (k < 0) return;
  }
}
""",
    "dense": """\
/* y = x w + b for each of n positions; a row of w holds the weights of one output. */
static void @dense(const real *x, const real *w, const real *b, real *y, long n, long in,
                   long out) {
  long p, i, j;
  for (p = 0; p < n; p++, x += in, y += out) {
    for (j = 0; j < out; j++) {
      const real *row = w + j * in;
      real sum = b ? b[j] : R(0);
      for (i = 0; i < in; i++) sum += x[i] * row[i];
      y[j] = sum;
    }
  }
}
""",
    "dense_turned": """\
/* y = x w + b for each of n positions; a row of w holds the weights of one input. */
static void @dense_turned(const real *x, const real *w, const real *b, real *y, long n, long in,
                          long out) {
  long p, i, j;
  for (p = 0; p < n; p++, x += in, y += out) {
    for (j = 0; j < out; j++) y[j] = b ? b[j] : R(0);
    for (i = 0; i < in; i++) {
      for (j = 0; j < out; j++) y[j] += x[i] * w[i * out + j];
    }
  }
}
""",
    "add_product": """\
/* y += w x; a row of w holds the weights of one output. */
static void @add_product(const real *x, const real *w, real *y, long in, long out) {
  long i, j;
  for (j = 0; j < out; j++) {
    for (i = 0; i < in; i++) y[j] += x[i] * w[j * in + i];
  }
}
""",
    "softmax": """\
/* Over the last axis, of n; y may be x. */
static void @softmax(const real *x, real *y, long rows, long n) {
  long r, i;
  for (r = 0; r < rows; r++, x += n, y += n) {
    real most = x[0], sum = R(0);
    for (i = 1; i < n; i++) most = x[i] > most ? x[i] : most;
    for (i = 0; i < n; i++) sum += y[i] = m_exp(x[i] - most);
    for (i = 0; i < n; i++) y[i] /= sum;
  }
}
""",
    "log_softmax": """\
/* Over the last axis, of n; y may be x. */
static void @log_softmax(const real *x, real *y, long rows, long n) {
  long r, i;
  for (r = 0; r < rows; r++, x += n, y += n) {
    real most = x[0], sum = R(0);
    for (i = 1; i < n; i++) most = x[i] > most ? x[i] : most;
    for (i = 0; i < n; i++) sum += m_exp(x[i] - most);
    sum = m_log(sum);
    for (i = 0; i < n; i++) y[i] = x[i] - most - sum;
  }
}
""",
    "slice": """\
/* Places start, start + step, ... along the second of three axes. */
static void @slice(const real *x, real *y, long outer, long length, long inner, long start,
                   long step, long count) {
  long o, k;
  for (o = 0; o < outer; o++) {
    for (k = 0; k < count; k++, y += inner) {
      @copy(x + (o * length + start + k * step) * inner, y, inner);
    }
  }
}
""",
    "put": """\
/* Rows of n values go to every step-th place of y. */
static void @put(const real *x, real *y, long rows, long n, long step) {
  long r;
  for (r = 0; r < rows; r++) @copy(x + r * n, y + r * step, n);
}
""",
    "repeat": """\
static void @repeat(const real *x, real *y, long n, long count) {
  long k;
  for (k = 0; k < count; k++) @copy(x, y + k * n, n);
}
""",
    "exchange": """\
/* The first axis, of a, and the second, of b, change places. */
static void @exchange(const real *x, real *y, long a, long b) {
  long i, j;
  for (j = 0; j < b; j++) {
    for (i = 0; i < a; i++) y[j * a + i] = x[i * b + j];
  }
}
""",
    "reverse": """\
/* The steps that count, which are the first ones, in the other order; zeros behind. */
static void @reverse(const real *x, const real *mask, real *y, long steps, long n) {
  long t, count = 0;
  for (t = 0; t < steps; t++) count += !mask || mask[t] != R(0);
  for (t = 0; t < count; t++) @copy(x + (count - 1 - t) * n, y + t * n, n);
  @zero(y + count * n, (steps - count) * n);
}
""",
    "history": """\
/* x behind what came before it, which goes on as far as it is kept; or behind zeros. */
static void @history(const real *x, real *kept, real *y, long before, long n) {
  if (kept) {
    @copy(kept, y, before);
  } else {
    @zero(y, before);
  }
  @copy(x, y + before, n);
  if (kept) @copy(y + n, kept, before);
}
""",
    "place": """\
/* Each value so many times along both axes, with zeros around, or a part of it. */
static void @place(const real *x, real *y, long h, long w, long c, long out_h, long out_w,
                   long top, long left, long times_h, long times_w) {
  long p, q;
  for (p = 0; p < out_h; p++) {
    for (q = 0; q < out_w; q++, y += c) {
      long i = (p - top) / times_h, j = (q - left) / times_w;
      if (p < top || q < left || i >= h || j >= w) {
        @zero(y, c);
      } else {
        @copy(x + (i * w + j) * c, y, c);
      }
    }
  }
}
""",
    "sum": """\
/* scale times the sum along the second of three axes. */
static void @sum(const real *x, real *y, long outer, long n, long inner, real scale) {
  long o, k, i;
  for (o = 0; o < outer; o++) {
    for (i = 0; i < inner; i++) {
      real sum = R(0);
      for (k = 0; k < n; k++) sum += x[(o * n + k) * inner + i];
      y[o * inner + i] = scale * sum;
    }
  }
}
""",
    "dot": """\
/* Products of all rows of a with all rows of b, along an axis of n of each; or of the rows divided
   by their lengths. */
static void @dot(const real *a, const real *b, real *y, long n, long a_outer, long a_inner,
                 long b_outer, long b_inner, int normalize) {
  long i, j, k;
  for (i = 0; i < a_outer * a_inner; i++) {
    const real *u = a + i / a_inner * n * a_inner + i % a_inner;
    for (j = 0; j < b_outer * b_inner; j++) {
      const real *v = b + j / b_inner * n * b_inner + j % b_inner;
      real sum = R(0), uu = R(0), vv = R(0);
      for (k = 0; k < n; k++) {
        real p = u[k * a_inner], q = v[k * b_inner];
        sum += p * q, uu += p * p, vv += q * q;
      }
      if (normalize) {
        uu = m_sqrt(uu), vv = m_sqrt(vv);
        sum = sum / (uu > R(1e-7) ? uu : R(1e-7)) / (vv > R(1e-7) ? vv : R(1e-7));
      }
      *y++ = sum;
    }
  }
}
""",
    "scale": """\
/* y = x w, w repeated; y may be x. */
static void @scale(const real *x, const real *w, real *y, long n, long channels) {
  long i;
  for (i = 0; i < n; i++) y[i] = x[i] * w[i % channels];
}
""",
    "standardize": """\
/* y = (x - mean - rest) w + b by channels, without what is NULL; y may be x. */
static void @standardize(const real *x, const real *mean, const real *rest, const real *w,
                         const real *b, real *y, long n, long channels) {
  long i;
  for (i = 0; i < n; i++) {
    long k = i % channels;
    real u = mean ? x[i] - mean[k] : x[i];
    if (rest) u -= rest[k];
    u *= w[k];
    y[i] = b ? u + b[k] : u;
  }
}
""",
    "normalize": """\
/* y = (x - m) / sqrt(v + epsilon) w + b, m and v of sets of positions x width values each. */
static void @normalize(const real *x, const real *w, const real *b, real *y, long outer,
                       long positions, long groups, long width, int centred, real epsilon) {
  long o, g, p, i, row = groups * width;
  real n = (real)(positions * width);
  for (o = 0; o < outer; o++, x += positions * row, y += positions * row) {
    for (g = 0; g < groups; g++) {
      real m = R(0), v = R(0);
      for (p = 0; centred && p < positions; p++) {
        for (i = g * width; i < (g + 1) * width; i++) m += x[p * row + i];
      }
      m /= n;
      for (p = 0; p < positions; p++) {
        for (i = g * width; i < (g + 1) * width; i++) {
          v += (x[p * row + i] - m) * (x[p * row + i] - m);
        }
      }
      v = R(1) / m_sqrt(v / n + epsilon);
      for (p = 0; p < positions; p++) {
        for (i = g * width; i < (g + 1) * width; i++) {
          real u = (x[p * row + i] - m) * v;
          if (w) u *= w[i];
          y[p * row + i] = b ? u + b[i] : u;
        }
      }
    }
  }
}
""",
    "embedding": """\
/* A row of the table for each id; zeros for an id that it does not have. */
static void @embedding(const int32_t *ids, const real *table, real *y, long n, long count,
                       long width) {
  long i;
  for (i = 0; i < n; i++, y += width) {
    if (ids[i] < 0 || ids[i] >= count) {
      @zero(y, width);
    } else {
      @copy(table + ids[i] * width, y, width);
    }
  }
}
""",
    "masking": """\
/* Steps all of whose values are `value` become zeros. */
static void @masking(const real *x, real *y, long steps, long n, real value) {
  long t, i;
  for (t = 0; t < steps; t++, x += n, y += n) {
    for (i = 0; i < n && x[i] == value; i++) {
    }
    if (i == n) {
      @zero(y, n);
    } else {
      @copy(x, y, n);
    }
  }
}
""",
    "mask": _mask("mask", "real", "real"),
    "mask_ids": _mask("mask_ids", "int32_t", "long"),
    "pool_steps": """\
/* The mean or the largest of the steps that count, by channels; 0 of none. */
static void @pool_steps(const real *x, const real *mask, real *y, long steps, long channels,
                        int most) {
  long t, i, count = 0;
  @zero(y, channels);
  for (t = 0; t < steps; t++, x += channels) {
    if (mask && mask[t] == R(0)) continue;
    for (i = 0; i < channels; i++) {
      if (most) {
        y[i] = count == 0 || x[i] > y[i] ? x[i] : y[i];
      } else {
        y[i] += x[i];
      }
    }
    count++;
  }
  for (i = 0; !most && count > 0 && i < channels; i++) y[i] /= (real)count;
}
""",
    "convolution": """\
/* A row of w holds the r x s x (c / groups) weights of one filter. */
static void @convolution(const @windows *g, const real *x, const real *w, const real *b,
                         real *y) {
  long p, q, k, i, j, c, channels = g->c / g->groups, filters = g->k / g->groups;
  for (p = 0; p < g->p; p++) {
    for (q = 0; q < g->q; q++) {
      const real *at = w;
      for (k = 0; k < g->k; k++) {
        real sum = b ? b[k] : R(0);
        for (i = 0; i < g->r; i++) {
          long row = p * g->stride_h - g->top + i * g->dilation_h;
          for (j = 0; j < g->s; j++, at += channels) {
            long column = q * g->stride_w - g->left + j * g->dilation_w;
            const real *from = x + (row * g->w + column) * g->c + k / filters * channels;
            if (row < 0 || row >= g->h || column < 0 || column >= g->w) continue;
            for (c = 0; c < channels; c++) sum += from[c] * at[c];
          }
        }
        *y++ = sum;
      }
    }
  }
}
""",
    "pooling": """\
/* The largest value of each window, or the mean of those that lie in x. */
static void @pooling(const @windows *g, const real *x, real *y, int most) {
  long p, q, c, i, j;
  for (p = 0; p < g->p; p++) {
    for (q = 0; q < g->q; q++) {
      for (c = 0; c < g->c; c++) {
        real found = R(0);
        long count = 0;
        for (i = 0; i < g->r; i++) {
          long row = p * g->stride_h - g->top + i * g->dilation_h;
          for (j = 0; j < g->s; j++) {
            long column = q * g->stride_w - g->left + j * g->dilation_w;
            real value;
            if (row < 0 || row >= g->h || column < 0 || column >= g->w) continue;
            value = x[(row * g->w + column) * g->c + c];
            if (most) {
              found = count == 0 || value > found ? value : found;
            } else {
              found += value;
            }
            count++;
          }
        }
        *y++ = most ? found : found / (real)count;
      }
    }
  }
}
""",
}

KERNELS = {**_STRUCTS, **_PLAIN, **CELLS, **EIGHT}
