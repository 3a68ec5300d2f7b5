// softmax and log_softmax over the rows of (rows, n), and their backward passes.
//
//   softmax      y = e / s, e = exp(x - m), s = sum e, m = max x       dx = y (dy - sum(dy y))
//   log_softmax  y = (x - m) - log s                                   dx = dy - exp(y) sum(dy)
//
// Shifting by m keeps every e within [0, 1] and s within [1, n], so no finite x overflows. A row with NaN or +Inf
// is NaN throughout. Sums follow kernels/reduce.h; a row of at most one block (16 floats, 8 doubles) is read and
// written once.
#include "kernels/reduce.h"
#include "kernels/table.h"
#include "simd/math.h"

namespace bp::BP_TIER {

template <class T> BP_INLINE Vec<T> zero() { return Vec<T>(T(0)); }

// One block: shifted = x - m and e = exp(shifted) stay in registers; returns s.
template <class T> BP_INLINE T shifted_exp_short(const T* x, std::int64_t n, Vec<T>* e, Vec<T>* shifted) {
  RowMax<T> most;
  each_part<T>(0, n, [&](auto at, int q) __attribute__((always_inline)) {
    shifted[q] = at.load(x);
    most.add(q, at.keep(shifted[q], Vec<T>(static_cast<T>(-__builtin_inf()))));
  });
  const Vec<T> m(most.total());
  RowSum<T> sum;
  each_part<T>(0, n, [&](auto at, int q) __attribute__((always_inline)) {
    shifted[q] = shifted[q] - m;
    e[q] = exp(shifted[q]);
    sum.add(q, at.keep(e[q], zero<T>()));
  });
  return sum.total();
}

template <class T> static void softmax(const T* x, T* y, std::int64_t rows, std::int64_t n) {
  for (std::int64_t r = 0; r < rows; ++r, x += n, y += n) {
    if (n <= kBlock<T>) {
      Vec<T> e[kParts] = {}, shifted[kParts] = {};
      const Vec<T> scale(T(1) / shifted_exp_short(x, n, e, shifted));
      each_part<T>(0, n, [&](auto at, int q) __attribute__((always_inline)) { at.store(y, e[q] * scale); });
      continue;
    }
    const Vec<T> m(row_max(x, n));
    RowSum<T> sum;
    each_block<T>(n, [&](auto at, int q) __attribute__((always_inline)) {
      const Vec<T> e = exp(at.load(x) - m);
      at.store(y, e);
      sum.add(q, at.keep(e, zero<T>()));
    });
    const Vec<T> scale(T(1) / sum.total());
    each_block<T>(n, [&](auto at, int) __attribute__((always_inline)) { at.store(y, at.load(y) * scale); });
  }
}

template <class T> static void softmax_back(const T* y, const T* dy, T* dx, std::int64_t rows, std::int64_t n) {
  for (std::int64_t r = 0; r < rows; ++r, y += n, dy += n, dx += n) {
    RowSum<T> sum;
    each_block<T>(n, [&](auto at, int q) __attribute__((always_inline)) {
      sum.add(q, at.load(dy) * at.load(y));  // lanes past the end read 0
    });
    const Vec<T> dot(sum.total());
    each_block<T>(
        n, [&](auto at, int) __attribute__((always_inline)) { at.store(dx, at.load(y) * (at.load(dy) - dot)); });
  }
}

template <class T> static void log_softmax(const T* x, T* y, std::int64_t rows, std::int64_t n) {
  for (std::int64_t r = 0; r < rows; ++r, x += n, y += n) {
    if (n <= kBlock<T>) {
      Vec<T> e[kParts] = {}, shifted[kParts] = {};
      const Vec<T> log_sum_exp = log(Vec<T>(shifted_exp_short(x, n, e, shifted)));
      each_part<T>(0, n, [&](auto at, int q) __attribute__((always_inline)) { at.store(y, shifted[q] - log_sum_exp); });
      continue;
    }
    const Vec<T> m(row_max(x, n));
    RowSum<T> sum;
    each_block<T>(
        n, [&](auto at, int q) __attribute__((always_inline)) { sum.add(q, at.keep(exp(at.load(x) - m), zero<T>())); });
    const Vec<T> log_sum_exp = log(Vec<T>(sum.total()));
    each_block<T>(n, [&](auto at, int) __attribute__((always_inline)) { at.store(y, (at.load(x) - m) - log_sum_exp); });
  }
}

template <class T> static void log_softmax_back(const T* y, const T* dy, T* dx, std::int64_t rows, std::int64_t n) {
  for (std::int64_t r = 0; r < rows; ++r, y += n, dy += n, dx += n) {
    RowSum<T> sum;
    each_block<T>(n, [&](auto at, int q) __attribute__((always_inline)) { sum.add(q, at.load(dy)); });
    const Vec<T> total(sum.total());
    each_block<T>(n, [&](auto at, int)
                         __attribute__((always_inline)) { at.store(dx, fnma(exp(at.load(y)), total, at.load(dy))); });
  }
}

template <class T> void fill_rows(Kernels<T>& table) {
  table.softmax = softmax<T>;
  table.softmax_back = softmax_back<T>;
  table.log_softmax = log_softmax<T>;
  table.log_softmax_back = log_softmax_back<T>;
}

template void fill_rows(Kernels<float>&);
template void fill_rows(Kernels<double>&);

}  // namespace bp::BP_TIER
