// The small blocks of a Cholesky factorization and of triangular solves; kernels/cholesky.cpp puts them together by
// products.
//
//   factor   A (n, n) symmetric, its upper triangle given: A = U^T U, U over A; column after column, right-looking
//   solve    U^T X = B, X over B (n, m); row after row: x_i = (b_i - sum u_ki x_k) / u_ii, k increasing
//   dot      sum of x_i y_i: lane i mod 32 is a chain, then the lanes in order
// Each subtraction is one fused multiply-add; divisions by u_ii are products with its reciprocal.
#include "kernels/table.h"
#include "simd/loops.h"

namespace bp::BP_TIER {

template <class T> BP_INLINE T root(T x) { return sqrt(Vec<T>(x)).v[0]; }

template <class T> static bool factor(T* a, std::int64_t lda, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    T* const row = a + i * lda;
    if (!(row[i] > T(0)) || row[i] - row[i] != T(0)) return false;  // NaN and infinity too
    row[i] = root(row[i]);
    const Vec<T> inverse(T(1) / row[i]);
    T* const rest = row + i + 1;
    each_vector<T>(n - i - 1, [&](auto at) { at.store(rest, at.load(rest) * inverse); });
    for (std::int64_t j = i + 1; j < n; ++j) {
      const Vec<T> f(row[j]);
      T* const below = a + j * lda + j;
      const T* const from = row + j;
      each_vector<T>(n - j, [&](auto at) { at.store(below, fnma(f, at.load(from), at.load(below))); });
    }
  }
  return true;
}

// n rows at once, which stay in registers.
template <class T, int kRows>
BP_INLINE void solve_rows(const T* u, std::int64_t ldu, T* b, std::int64_t ldb, std::int64_t m) {
  T inverse[kRows];
  for (int i = 0; i < kRows; ++i) inverse[i] = T(1) / u[i * ldu + i];
  each_vector<T>(m, [&](auto at) __attribute__((always_inline)) {
    Vec<T> x[kRows];
    BP_UNROLL(8)
    for (int i = 0; i < kRows; ++i) x[i] = at.load(b + i * ldb);
    BP_UNROLL(8)
    for (int i = 0; i < kRows; ++i) {
      BP_UNROLL(8)
      for (int k = 0; k < i; ++k) x[i] = fnma(Vec<T>(u[k * ldu + i]), x[k], x[i]);
      x[i] = x[i] * Vec<T>(inverse[i]);
      at.store(b + i * ldb, x[i]);
    }
  });
}

template <class T>
static void solve(const T* u, std::int64_t ldu, T* b, std::int64_t ldb, std::int64_t n, std::int64_t m) {
  switch (n) {
    case 8: return solve_rows<T, 8>(u, ldu, b, ldb, m);
    case 7: return solve_rows<T, 7>(u, ldu, b, ldb, m);
    case 6: return solve_rows<T, 6>(u, ldu, b, ldb, m);
    case 5: return solve_rows<T, 5>(u, ldu, b, ldb, m);
    case 4: return solve_rows<T, 4>(u, ldu, b, ldb, m);
    case 3: return solve_rows<T, 3>(u, ldu, b, ldb, m);
    case 2: return solve_rows<T, 2>(u, ldu, b, ldb, m);
    default: return solve_rows<T, 1>(u, ldu, b, ldb, m);
  }
}

template <class T> static T dot(const T* x, const T* y, std::int64_t n) {
  constexpr int kLanes = 32, kWidth = Vec<T>::kWidth, kVecs = kLanes / kWidth;
  Vec<T> sum[kVecs];
  BP_UNROLL(16)
  for (int v = 0; v < kVecs; ++v) sum[v] = Vec<T>(T(0));
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    BP_UNROLL(16)
    for (int v = 0; v < kVecs; ++v) sum[v] = fma(load(x + i + v * kWidth), load(y + i + v * kWidth), sum[v]);
  }
  const std::int64_t whole = (n - i) / kWidth;  // vectors of the rest
  BP_UNROLL(16)
  for (int v = 0; v < kVecs; ++v) {
    if (v < whole) sum[v] = fma(load(x + i + v * kWidth), load(y + i + v * kWidth), sum[v]);
  }
  T lane[kLanes], total = 0;
  BP_UNROLL(16)
  for (int v = 0; v < kVecs; ++v) store(lane + v * kWidth, sum[v]);
  for (std::int64_t l = whole * kWidth; i + l < n; ++l)
    lane[l] = fma(Vec<T>(x[i + l]), Vec<T>(y[i + l]), Vec<T>(lane[l])).v[0];
  const int used = n < kLanes ? static_cast<int>(n) : kLanes;
  for (int l = 0; l < used; ++l) total += lane[l];
  return total;
}

template <class T> void fill_triangular(Kernels<T>& table) {
  table.factor = factor<T>;
  table.solve = solve<T>;
  table.dot = dot<T>;
}

template void fill_triangular(Kernels<float>& table);
template void fill_triangular(Kernels<double>& table);

}  // namespace bp::BP_TIER
