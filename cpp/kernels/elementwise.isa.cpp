// Pointwise arithmetic, sums over rows, and the scans that guard a step: all_finite and max_abs.
//
// Memory bound: n elements in and out once. Errors: one rounding per operation; sums are the chains that each comment
// names.
#include "kernels/table.h"
#include "simd/loops.h"

namespace bp::BP_TIER {

// clang-format off
struct AddOp { template <class V> BP_INLINE V operator()(V a, V b) const { return a + b; } };
struct SubtractOp { template <class V> BP_INLINE V operator()(V a, V b) const { return a - b; } };
struct MultiplyOp { template <class V> BP_INLINE V operator()(V a, V b) const { return a * b; } };
struct DivideOp { template <class V> BP_INLINE V operator()(V a, V b) const { return a / b; } };
// clang-format on
struct MaximumOp {  // NaN if either is, as numpy.maximum
  template <class V> BP_INLINE V operator()(V a, V b) const { return select((a > b) | (a != a), a, b); }
};
struct MinimumOp {  // NaN if either is, as numpy.minimum
  template <class V> BP_INLINE V operator()(V a, V b) const { return select((a < b) | (a != a), a, b); }
};

template <class T, class Op> static void binary(const T* a, int a_step, const T* b, int b_step, T* y, std::int64_t n) {
  const Op op;
  if (n <= 0) return;
  if (a_step != 0 && b_step != 0) {
    each_vector<T>(n, [=](auto at) { at.store(y, op(at.load(a), at.load(b))); });
  } else if (a_step != 0) {
    const Vec<T> one(*b);
    each_vector<T>(n, [=](auto at) { at.store(y, op(at.load(a), one)); });
  } else {
    const Vec<T> one(*a);
    const T last = *b;  // y may be b
    if (b_step != 0) {
      each_vector<T>(n, [=](auto at) { at.store(y, op(one, at.load(b))); });
    } else {
      each_vector<T>(n, [=](auto at) { at.store(y, op(one, Vec<T>(last))); });
    }
  }
}

// y = fma(alpha, x, y).
template <class T> static void axpy(T alpha, const T* x, T* y, std::int64_t n) {
  const Vec<T> factor(alpha);
  each_vector<T>(n, [=](auto at) { at.store(y, fma(factor, at.load(x), at.load(y))); });
}

template <class T> static void scale(T alpha, T* y, std::int64_t n) {
  const Vec<T> factor(alpha);
  each_vector<T>(n, [=](auto at) { at.store(y, factor * at.load(y)); });
}

// kVecs vectors of columns over all rows; `tail` lanes of the last one.
template <class T, int kVecs>
static void sum_columns(const T* x, std::int64_t ldx, T* db, std::int64_t rows, std::int64_t chunk, Chain chain,
                        std::int64_t tail) {
  constexpr int kWidth = Vec<T>::kWidth, kLast = kVecs - 1;
  Vec<T> total[kVecs];
  BP_UNROLL(8)
  for (int v = 0; v < kVecs; ++v) total[v] = Vec<T>(typename Vec<T>::N{});
  for (std::int64_t first = 0; first < rows; first += chunk) {
    const std::int64_t end = rows - first < chunk ? rows : first + chunk;
    Vec<T> sum[kVecs];
    BP_UNROLL(8)
    for (int v = 0; v < kVecs; ++v) sum[v] = Vec<T>(typename Vec<T>::N{});
    if (first == 0 && chain == Chain::kGoesOn) {
      BP_UNROLL(8)
      for (int v = 0; v < kVecs; ++v) sum[v] = load_n(db + v * kWidth, v == kLast ? tail : kWidth);
    }
    for (std::int64_t i = first; i < end; ++i) {
      const T* row = x + i * ldx;
      BP_UNROLL(8)
      for (int v = 0; v < kLast; ++v) sum[v] = sum[v] + load(row + v * kWidth);
      sum[kLast] = sum[kLast] + (kVecs > 1 ? load(row + kLast * kWidth) : load_n(row, tail));
    }
    BP_UNROLL(8)
    for (int v = 0; v < kVecs; ++v) total[v] = first == 0 ? sum[v] : total[v] + sum[v];
  }
  BP_UNROLL(8)
  for (int v = 0; v < kVecs; ++v) {
    const std::int64_t lanes = v == kLast ? tail : kWidth;
    if (chain == Chain::kAdds) total[v] = load_n(db + v * kWidth, lanes) + total[v];
    store_n(db + v * kWidth, total[v], lanes);
  }
}

// db[j] = sum of x[i][j], chains over i increasing from 0; a new chain every `chunk` rows (0: one), chunks added in
// order.
template <class T>
static void column_sum(const T* x, std::int64_t ldx, T* db, std::int64_t rows, std::int64_t n, std::int64_t chunk,
                       Chain chain) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  constexpr int kVecs = 4;  // additions in flight: 4 cycles of latency, and the loads of a row's 4 cache lines together
  if (chunk <= 0) chunk = rows > 0 ? rows : 1;
  std::int64_t j = 0;
  for (; j + kVecs * kWidth <= n; j += kVecs * kWidth) {
    sum_columns<T, kVecs>(x + j, ldx, db + j, rows, chunk, chain, kWidth);
  }
  for (; j < n; j += kWidth) {
    sum_columns<T, 1>(x + j, ldx, db + j, rows, chunk, chain, n - j < kWidth ? n - j : kWidth);
  }
}

// max |x|. The bits of |x| are ordered like its value, with NaN above infinity: an integer maximum lets no NaN slip.
template <class T> static T max_abs(const T* x, std::int64_t n) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  const auto larger = [](IntVec<T> most, Vec<T> value) __attribute__((always_inline)) {
    return max(most, to_bits(abs(value)));
  };
  IntVec<T> most[4] = {};
  std::int64_t i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth) {
    BP_UNROLL(4)
    for (int v = 0; v < 4; ++v) most[v] = larger(most[v], load(x + i + v * kWidth));
  }
  IntVec<T> all = max(max(most[0], most[1]), max(most[2], most[3]));
  each_vector<T>(n - i, [&](auto at) { all = larger(all, at.load(x + i)); });
  auto result = all.v[0];
  for (int l = 1; l < Vec<T>::kWidth; ++l) result = all.v[l] > result ? all.v[l] : result;
  return from_bits<T>(IntVec<T>(result)).v[0];
}

// 0 * x is NaN for Inf and NaN, and a NaN stays in a sum.
template <class T> static bool all_finite(const T* x, std::int64_t n) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth, kBlock = 4096;  // stop at the first bad block
  const Vec<T> zero(typename Vec<T>::N{});
  for (std::int64_t first = 0; first < n; first += kBlock) {
    const T* block = x + first;
    const std::int64_t count = n - first < kBlock ? n - first : kBlock;
    Vec<T> sum[4] = {zero, zero, zero, zero};
    std::int64_t i = 0;
    for (; i + 4 * kWidth <= count; i += 4 * kWidth) {
      BP_UNROLL(4)
      for (int v = 0; v < 4; ++v) sum[v] = fma(zero, load(block + i + v * kWidth), sum[v]);
    }
    Vec<T> all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    each_vector<T>(count - i, [&](auto at) { all = fma(zero, at.load(block + i), all); });
    T lane[kWidth];
    store(lane, all);
    for (std::int64_t l = 0; l < kWidth; ++l) {
      if (!(lane[l] == T(0))) return false;
    }
  }
  return true;
}

template <class T> void fill_elementwise(Kernels<T>& table) {
  table.binary[static_cast<int>(Binary::kAdd)] = binary<T, AddOp>;
  table.binary[static_cast<int>(Binary::kSubtract)] = binary<T, SubtractOp>;
  table.binary[static_cast<int>(Binary::kMultiply)] = binary<T, MultiplyOp>;
  table.binary[static_cast<int>(Binary::kDivide)] = binary<T, DivideOp>;
  table.binary[static_cast<int>(Binary::kMaximum)] = binary<T, MaximumOp>;
  table.binary[static_cast<int>(Binary::kMinimum)] = binary<T, MinimumOp>;
  table.axpy = axpy<T>;
  table.scale = scale<T>;
  table.column_sum = column_sum<T>;
  table.all_finite = all_finite<T>;
  table.max_abs = max_abs<T>;
}

template void fill_elementwise(Kernels<float>& table);
template void fill_elementwise(Kernels<double>& table);

}  // namespace bp::BP_TIER
