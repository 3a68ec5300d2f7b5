// Norms of parameters for clipping, penalties and constraints, and what follows from them.
//
// Sums are in double, where the squares of floats are exact: n of them give |error| <= (n / 32 + 32) 2^-53 of the sum,
// and a column of n rows n 2^-53. Memory bound: n elements in, and out where something is scaled.
#include "kernels/table.h"
#include "kernels/update.h"
#include "simd/loops.h"

namespace bp::BP_TIER {

constexpr int kLanes = 8, kParts = kLanes / Vec<double>::kWidth;

// The first `n` of 8 values from x, 0 beyond, as doubles.
template <class T> BP_INLINE void widen(const T* x, std::int64_t n, Vec<double>* part) {
  typedef T Narrow __attribute__((vector_size(kLanes * sizeof(T)), aligned(1), may_alias));
  typedef double Wide __attribute__((vector_size(kLanes * sizeof(double)), aligned(1), may_alias));
  T rest[kLanes] = {};
  const T* from = x;
  if (n < kLanes) {
    for (std::int64_t l = 0; l < n; ++l) rest[l] = x[l];
    from = rest;
  }
  double lane[kLanes];
  *reinterpret_cast<Wide*>(lane) = __builtin_convertvector(*reinterpret_cast<const Narrow*>(from), Wide);
  BP_UNROLL(4)
  for (int v = 0; v < kParts; ++v) part[v] = load(lane + v * Vec<double>::kWidth);
}

// clang-format off
struct SquareOp { BP_INLINE Vec<double> operator()(Vec<double> x, Vec<double> sum) const { return fma(x, x, sum); } };
struct AbsOp { BP_INLINE Vec<double> operator()(Vec<double> x, Vec<double> sum) const { return sum + abs(x); } };
// clang-format on

// Lane l = i mod 32 is a chain over the x_i in order, so that four additions are in flight; then
// ((lane 0 + lane 1) + ..) + lane 31.
template <class T, class Op> static double sum_over(const T* x, std::int64_t n) {
  constexpr int kGroups = 4;
  const Op op;
  Vec<double> sum[kGroups * kParts], part[kParts];
  BP_UNROLL(16)
  for (int v = 0; v < kGroups * kParts; ++v) sum[v] = Vec<double>(0.0);
  std::int64_t i = 0;
  for (; i + kGroups * kLanes <= n; i += kGroups * kLanes) {
    BP_UNROLL(4)
    for (int q = 0; q < kGroups; ++q) {
      widen(x + i + q * kLanes, kLanes, part);
      BP_UNROLL(4)
      for (int v = 0; v < kParts; ++v) sum[q * kParts + v] = op(part[v], sum[q * kParts + v]);
    }
  }
  BP_UNROLL(4)
  for (int q = 0; q < kGroups; ++q, i += kLanes) {
    if (i >= n) continue;
    widen(x + i, n - i, part);
    BP_UNROLL(4)
    for (int v = 0; v < kParts; ++v) sum[q * kParts + v] = op(part[v], sum[q * kParts + v]);
  }
  double lane[kGroups * kLanes], total = 0;
  BP_UNROLL(16)
  for (int v = 0; v < kGroups * kParts; ++v) store(lane + v * Vec<double>::kWidth, sum[v]);
  for (int l = 0; l < kGroups * kLanes; ++l) total += lane[l];
  return total;
}

// sum[j] = x[0][j]^2 + x[1][j]^2 + .. Row after row, with the sums in the first-level cache: column after column, the
// rows of a matrix whose width is a power of two would push one another out of it.
template <class T>
static void column_squares(const T* x, std::int64_t ldx, double* sum, std::int64_t rows, std::int64_t n) {
  constexpr int kWidth = Vec<double>::kWidth;
  for (std::int64_t j = 0; j < n; ++j) sum[j] = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* row = x + i * ldx;
    Vec<double> part[kParts];
    std::int64_t j = 0;
    for (; j + kLanes <= n; j += kLanes) {
      widen(row + j, kLanes, part);
      BP_UNROLL(4)
      for (int v = 0; v < kParts; ++v) store(sum + j + v * kWidth, fma(part[v], part[v], load(sum + j + v * kWidth)));
    }
    if (j == n) continue;
    widen(row + j, n - j, part);
    double lane[kLanes];
    for (int l = 0; l < kLanes; ++l) lane[l] = j + l < n ? sum[j + l] : 0;
    BP_UNROLL(4)
    for (int v = 0; v < kParts; ++v) store(lane + v * kWidth, fma(part[v], part[v], load(lane + v * kWidth)));
    for (int l = 0; l < kLanes && j + l < n; ++l) sum[j + l] = lane[l];
  }
}

template <class T>
static void scale_columns(const T* factor, T* x, std::int64_t ldx, std::int64_t rows, std::int64_t n) {
  for (std::int64_t i = 0; i < rows; ++i) {
    T* row = x + i * ldx;
    each_vector<T>(n, [=](auto at) { at.store(row, at.load(factor) * at.load(row)); });
  }
}

template <class T> static void add_decay(T l1, T l2, const T* w, T* g, std::int64_t n) {
  const Vec<T> one(l1), two(T(2) * l2);
  each_vector<T>(n, [=](auto at) {
    const Vec<T> x = at.load(w);
    at.store(g, fma(two, x, fma(one, sign_of(x), at.load(g))));
  });
}

template <class T> void fill_norms(Kernels<T>& table) {
  table.sum_squares = sum_over<T, SquareOp>;
  table.sum_abs = sum_over<T, AbsOp>;
  table.column_squares = column_squares<T>;
  table.scale_columns = scale_columns<T>;
  table.add_decay = add_decay<T>;
}

template void fill_norms(Kernels<float>& table);
template void fill_norms(Kernels<double>& table);

}  // namespace bp::BP_TIER
