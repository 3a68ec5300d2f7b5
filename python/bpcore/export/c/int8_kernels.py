"""What `int8.py` needs in C."""

from __future__ import annotations

EIGHT = {
    "quantize": """\
/* Numbers of 8 bits, q for (q - zero) step. */
static void @quantize(const real *x, int8_t *y, long n, real step, int zero) {
  long i;
  for (i = 0; i < n; i++) {
    real v = m_floor(x[i] / step + R(0.5)) + (real)zero;
    y[i] = v >= R(127) ? 127 : v >= -R(128) ? (int8_t)v : -128;
  }
}
""",
    "rescaled": """\
/* sum factor / 2^shift + zero, rounded half away from 0, in 8 bits. */
static int8_t @rescaled(int32_t sum, int32_t factor, int shift, int zero) {
  int64_t v = (int64_t)sum * factor, half = (int64_t)1 << (shift - 1);
  v = v >= 0 ? (v + half) >> shift : -((half - v) >> shift);
  v += zero;
  return (int8_t)(v < -128 ? -128 : v > 127 ? 127 : v);
}
""",
    "product": """\
static int32_t @product(const int8_t *x, const int8_t *w, long n) {
  long i;
  int32_t sum = 0;
  for (i = 0; i < n; i++) sum += (int32_t)x[i] * w[i];
  return sum;
}
""",
    "dense_eight": """\
/* y = x w + b in 8 bits for each of n positions; a row of w holds the weights of one output. */
static void @dense_eight(const int8_t *x, const int8_t *w, const int32_t *b,
                         const int32_t *factor, const int8_t *shift, int8_t *y, long n, long in,
                         long out, int zero) {
  long p, j;
  for (p = 0; p < n; p++, x += in, y += out) {
    for (j = 0; j < out; j++) {
      y[j] = @rescaled(b[j] + @product(x, w + j * in, in), factor[j], shift[j], zero);
    }
  }
}
""",
    "dense_float": """\
/* The same, with y in float. */
static void @dense_float(const int8_t *x, const int8_t *w, const int32_t *b, const real *step,
                         real *y, long n, long in, long out) {
  long p, j;
  for (p = 0; p < n; p++, x += in, y += out) {
    for (j = 0; j < out; j++) {
      y[j] = (real)(b[j] + @product(x, w + j * in, in)) * step[j];
    }
  }
}
""",
    "table": """\
/* A function of each number of 8 bits; y may be x. */
static void @table(const int8_t *x, const int8_t *table, int8_t *y, long n) {
  long i;
  for (i = 0; i < n; i++) y[i] = table[x[i] + 128];
}
""",
}
