// Pooling: windows over positions, channels side by side in vectors.
//
// Memory bound: x and y, or x, y, dy and dx, once where windows do not overlap. Nothing is rounded but sums and the
// factor.
#include "kernels/table.h"
#include "simd/loops.h"

namespace bp::BP_TIER {

// one(at, i, j's vector): `at` is where the window's values of these channels begin.
template <class T, class One> static void each_window(const Pool<T>& p, One one) {
  for (std::int64_t i = 0; i < p.m; ++i) {
    each_vector<T>(p.n, [&](auto part) __attribute__((always_inline)) { one(part, i * p.x_row, i * p.n); });
  }
}

template <class T> static void pool_most(const Pool<T>& p, T* y) {
  each_window<T>(p, [&](auto part, std::int64_t x_at, std::int64_t y_at) __attribute__((always_inline)) {
    const T* row = p.x + x_at;
    Vec<T> most = part.load(row);
    for (std::int64_t r = 0; r < p.rows; ++r, row += p.row_step) {
      const T* x = row;
      for (std::int64_t s = 0; s < p.columns; ++s, x += p.step) {
        const Vec<T> value = part.load(x);
        most = select((most > value) | (most != most), most, value);  // NaN stays
      }
    }
    part.store(y + y_at, most);
  });
}

template <class T> static void pool_mean(const Pool<T>& p, T* y) {
  const Vec<T> factor(p.factor);
  each_window<T>(p, [&](auto part, std::int64_t x_at, std::int64_t y_at) __attribute__((always_inline)) {
    const T* row = p.x + x_at;
    Vec<T> sum;
    for (std::int64_t r = 0; r < p.rows; ++r, row += p.row_step) {
      const T* x = row;
      for (std::int64_t s = 0; s < p.columns; ++s, x += p.step) {
        sum = r + s == 0 ? part.load(x) : sum + part.load(x);
      }
    }
    part.store(y + y_at, factor * sum);
  });
}

template <class T> static void pool_most_back(const Pool<T>& p, const T* dy, T* dx) {
  const Vec<T> zero(T(0));
  each_window<T>(p, [&](auto part, std::int64_t x_at, std::int64_t y_at) __attribute__((always_inline)) {
    const Vec<T> most = part.load(p.y + y_at);
    Vec<T> left = part.load(dy + y_at);
    std::int64_t row = x_at;
    for (std::int64_t r = 0; r < p.rows; ++r, row += p.row_step) {
      std::int64_t at = row;
      for (std::int64_t s = 0; s < p.columns; ++s, at += p.step) {
        const IntVec<T> takes = part.load(p.x + at) == most;
        part.store(dx + at, part.load(dx + at) + select(takes, left, zero));
        left = select(takes, zero, left);
      }
    }
  });
}

template <class T> static void pool_mean_back(const Pool<T>& p, const T* dy, T* dx) {
  const Vec<T> factor(p.factor);
  each_window<T>(p, [&](auto part, std::int64_t x_at, std::int64_t y_at) __attribute__((always_inline)) {
    const Vec<T> each = factor * part.load(dy + y_at);
    std::int64_t row = x_at;
    for (std::int64_t r = 0; r < p.rows; ++r, row += p.row_step) {
      std::int64_t at = row;
      for (std::int64_t s = 0; s < p.columns; ++s, at += p.step) part.store(dx + at, part.load(dx + at) + each);
    }
  });
}

template <class T> void fill_pooling(Kernels<T>& table) {
  table.pool_most = pool_most<T>;
  table.pool_mean = pool_mean<T>;
  table.pool_most_back = pool_most_back<T>;
  table.pool_mean_back = pool_mean_back<T>;
}

template void fill_pooling(Kernels<float>&);
template void fill_pooling(Kernels<double>&);

}  // namespace bp::BP_TIER
