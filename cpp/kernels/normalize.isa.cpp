// Normalization: statistics of columns over a batch, of sets of values within a sample, and what follows from them.
//
// Column kernels see (rows, n) with leading dimension ld, one chain per column over the rows in order. Set kernels see
// one set as `runs` runs of `width` values, `stride` apart; their sums have fixed lanes (kernels/reduce.h).
#include "kernels/reduce.h"
#include "kernels/table.h"

namespace bp::BP_TIER {

template <class T, bool kSquare>
static void column_product(const T* x, const T* shift, const T* y, std::int64_t ld, T* out, std::int64_t rows,
                           std::int64_t n, std::int64_t chunk, Chain chain) {
  if (chunk <= 0) chunk = rows > 0 ? rows : 1;
  each_vector<T>(n, [&](auto at) __attribute__((always_inline)) {
    const Vec<T> zero(T(0));
    const Vec<T> centre = shift != nullptr ? at.load(shift) : zero;
    Vec<T> total = chain == Chain::kAdds ? at.load(out) : zero;
    for (std::int64_t first = 0; first < rows; first += chunk) {
      const std::int64_t end = rows - first < chunk ? rows : first + chunk;
      Vec<T> sum = first == 0 && chain == Chain::kGoesOn ? at.load(out) : zero;
      for (std::int64_t i = first; i < end; ++i) {
        const Vec<T> distance = at.load(x + i * ld) - centre;
        sum = fma(distance, kSquare ? distance : at.load(y + i * ld), sum);
      }
      total = total + sum;
    }
    at.store(out, total);
  });
}

// out[j] = sum over rows of (x - shift) y, y null: (x - shift)^2; chains of `chunk` rows added in order.
template <class T>
static void column_dot(const T* x, const T* shift, const T* y, std::int64_t ld, T* out, std::int64_t rows,
                       std::int64_t n, std::int64_t chunk, Chain chain) {
  if (y == nullptr) return column_product<T, true>(x, shift, nullptr, ld, out, rows, n, chunk, chain);
  column_product<T, false>(x, shift, y, ld, out, rows, n, chunk, chain);
}

// y = (x - shift) scale + offset by columns; null: 0, 1, 0.
template <class T>
static void affine_rows(const T* x, T* y, std::int64_t ld, std::int64_t rows, std::int64_t n, const T* shift,
                        const T* scale, const T* offset) {
  each_vector<T>(n, [&](auto at) __attribute__((always_inline)) {
    const Vec<T> zero(T(0));
    const Vec<T> centre = shift != nullptr ? at.load(shift) : zero;
    const Vec<T> factor = scale != nullptr ? at.load(scale) : Vec<T>(T(1));
    const Vec<T> level = offset != nullptr ? at.load(offset) : zero;
    for (std::int64_t i = 0; i < rows; ++i) at.store(y + i * ld, fma(at.load(x + i * ld) - centre, factor, level));
  });
}

// dx = factor (dy - mean_dy - (x - shift) slope) by columns; add: dx += that.
template <class T>
static void column_normalize_back(const T* x, const T* dy, T* dx, std::int64_t ld, std::int64_t rows, std::int64_t n,
                                  const T* shift, const T* mean_dy, const T* slope, const T* factor, bool add) {
  each_vector<T>(n, [&](auto at) __attribute__((always_inline)) {
    const Vec<T> zero(T(0));
    const Vec<T> centre = at.load(shift), level = at.load(mean_dy), tilt = at.load(slope), scale = at.load(factor);
    for (std::int64_t i = 0; i < rows; ++i) {
      const Vec<T> d = fnma(at.load(x + i * ld) - centre, tilt, at.load(dy + i * ld) - level);
      at.store(dx + i * ld, fma(d, scale, add ? at.load(dx + i * ld) : zero));
    }
  });
}

template <class T, class Body> static BP_INLINE void each_run(SetShape set, Body body) {
  for (std::int64_t r = 0; r < set.runs; ++r) {
    const std::int64_t offset = r * set.stride;
    each_block<T>(set.width, [&](auto at, int q) __attribute__((always_inline)) { body(at, q, offset); });
  }
}

// The same of values whose squares overflow: they are scaled down by a power of two, and epsilon no longer counts.
template <class T> static T normalize_large_set(const T* x, T* y, SetShape set, bool centred) {
  const Vec<T> down(sizeof(T) == 4 ? T(0x1p-100) : T(0x1p-700));
  const T count = static_cast<T>(set.runs * set.width);
  Vec<T> mean(T(0));
  if (centred) {
    RowSum<T> sum;
    each_run<T>(
        set, [&](auto at, int q, std::int64_t o) __attribute__((always_inline)) { sum.add(q, at.load(x + o) * down); });
    mean = Vec<T>(sum.total() / count);
  }
  RowSum<T> squares;
  each_run<T>(set, [&](auto at, int q, std::int64_t o) __attribute__((always_inline)) {
    const Vec<T> d = fma(at.load(x + o), down, -mean);
    squares.add(q, at.keep(d * d, Vec<T>(T(0))));
  });
  const Vec<T> inverse = Vec<T>(T(1)) / sqrt(Vec<T>(squares.total() / count));
  each_run<T>(set, [&](auto at, int, std::int64_t o)
                       __attribute__((always_inline)) { at.store(y + o, fma(at.load(x + o), down, -mean) * inverse); });
  return first_lane<T>(inverse * down);
}

// y = (x - m) / sqrt(v + epsilon), m the set's mean (0 unless centred), v the mean of (x - m)^2. Returns 1 / sqrt(..).
template <class T> static T normalize_set(const T* x, T* y, SetShape set, bool centred, T epsilon) {
  const T count = static_cast<T>(set.runs * set.width);
  Vec<T> mean(T(0));
  if (centred) {
    RowSum<T> sum;
    each_run<T>(
        set, [&](auto at, int q, std::int64_t o) __attribute__((always_inline)) { sum.add(q, at.load(x + o)); });
    mean = Vec<T>(sum.total() / count);
  }
  RowSum<T> squares;
  each_run<T>(set, [&](auto at, int q, std::int64_t o) __attribute__((always_inline)) {
    const Vec<T> d = at.load(x + o) - mean;
    squares.add(q, at.keep(d * d, Vec<T>(T(0))));
  });
  const T variance = squares.total() / count;
  if (!(variance < static_cast<T>(__builtin_inf()))) return normalize_large_set(x, y, set, centred);
  const Vec<T> inverse = Vec<T>(T(1)) / sqrt(Vec<T>(variance + epsilon));
  each_run<T>(set, [&](auto at, int, std::int64_t o)
                       __attribute__((always_inline)) { at.store(y + o, (at.load(x + o) - mean) * inverse); });
  return first_lane<T>(inverse);
}

// dx = inverse (g - mean(g) - y mean(g y)), g = dy gamma, y the normalized values; without mean(g) unless centred.
template <class T>
static void normalize_set_back(const T* y, const T* dy, const T* gamma, T* dx, SetShape set, bool centred, T inverse,
                               bool add) {
  const T count = static_cast<T>(set.runs * set.width);
  const Vec<T> one(T(1)), zero(T(0));
  RowSum<T> sum, dot;
  each_run<T>(set, [&](auto at, int q, std::int64_t o) __attribute__((always_inline)) {
    const Vec<T> g = at.load(dy + o) * (gamma != nullptr ? at.load(gamma) : one);
    sum.add(q, g);
    dot.add(q, g * at.load(y + o));
  });
  const Vec<T> level(centred ? sum.total() / count : T(0)), tilt(dot.total() / count), scale(inverse);
  each_run<T>(set, [&](auto at, int, std::int64_t o) __attribute__((always_inline)) {
    const Vec<T> g = at.load(dy + o) * (gamma != nullptr ? at.load(gamma) : one);
    const Vec<T> d = fnma(at.load(y + o), tilt, g - level);
    at.store(dx + o, fma(d, scale, add ? at.load(dx + o) : zero));
  });
}

template <class T> void fill_normalize(Kernels<T>& table) {
  table.column_dot = column_dot<T>;
  table.affine_rows = affine_rows<T>;
  table.column_normalize_back = column_normalize_back<T>;
  table.normalize_set = normalize_set<T>;
  table.normalize_set_back = normalize_set_back<T>;
}

template void fill_normalize(Kernels<float>&);
template void fill_normalize(Kernels<double>&);

}  // namespace bp::BP_TIER
