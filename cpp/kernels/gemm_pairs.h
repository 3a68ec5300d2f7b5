// Operands of a product in single precision -> matrices and panels of pairs of bfloat16.
//
// Two neighbouring values of k are one 32-bit element, so a matrix of pairs has half as many steps of k and the tiles
// of gemm_tile.h serve it as it is.
#pragma once

#include "simd/pairs.h"

#include "kernels/gemm_plan.h"
#include "kernels/transpose.h"

namespace bp::BP_TIER {

template <> struct SumOfElement<Pair> {
  using Type = float;
  static constexpr std::int64_t kValues = 2;
};

// Up to 16 pairs of the row that begins at x, of which `left` floats are there.
BP_INLINE Vec<Pair> row_of_pairs(const float* x, std::int64_t left) {
  constexpr std::int64_t kWidth = Vec<float>::kWidth;
  if (left >= 2 * kWidth) return pairs_along(load(x), load(x + kWidth));
  const std::int64_t first = at_most(left, kWidth);
  return pairs_along(load_n(x, first), load_n(x + first, left - first));
}

// Rows of k floats -> rows of pairs, ld apart, the last one filled up by zero.
inline void pair_rows(const float* x, std::int64_t ldx, std::int64_t rows, std::int64_t k, Pair* y, std::int64_t ld) {
  constexpr std::int64_t kWidth = Vec<float>::kWidth;
  const std::int64_t pairs = ceil_div(k, 2);
  for (std::int64_t i = 0; i < rows; ++i, x += ldx, y += ld) {
    for (std::int64_t p = 0; p < pairs; p += kWidth) {
      store_n(y + p, row_of_pairs(x + 2 * p, k - 2 * p), at_most(pairs - p, kWidth));
    }
  }
}

// k rows of n floats -> ceil(k / 2) rows of pairs, ld apart; an odd last row is paired with zeros. Whole vectors are
// written: ld and the memory are multiples of W.
inline void pair_columns(const float* x, std::int64_t ldx, std::int64_t k, std::int64_t n, Pair* y, std::int64_t ld) {
  constexpr std::int64_t kWidth = Vec<float>::kWidth;
  for (std::int64_t p = 0; p < k; p += 2, x += 2 * ldx, y += ld) {
    for (std::int64_t j = 0; j < n; j += kWidth) {
      const std::int64_t cols = at_most(n - j, kWidth);
      const Vec<float> odd = p + 1 < k ? load_n(x + ldx + j, cols) : Vec<float>(0.0f);
      store(y + j, pairs_across(load_n(x + j, cols), odd));
    }
  }
}

// The panel of pack_b_transposed, pairs made on the way: panel[p * vecs * W + j] from xt[j * ldxt + 2p], xt[j * ldxt +
// 2p + 1].
inline void pair_transposed(const float* xt, std::int64_t ldxt, std::int64_t k, std::int64_t n, Pair* panel) {
  constexpr std::int64_t kWidth = Vec<float>::kWidth;
  const std::int64_t vecs = vectors<Pair>(n), ld = vecs * kWidth, pairs = ceil_div(k, 2);
  for (std::int64_t v = 0; v < vecs; ++v) {
    const std::int64_t rows = at_most(n - v * kWidth, kWidth);
    for (std::int64_t p = 0; p < pairs; p += kWidth) {
      Vec<Pair> r[kWidth];
      BP_UNROLL(16)
      for (int i = 0; i < kWidth; ++i) {
        r[i] = i < rows ? row_of_pairs(xt + (v * kWidth + i) * ldxt + 2 * p, k - 2 * p) : Vec<Pair>(Pair(0));
      }
      transpose_block<Pair>(r);
      const std::int64_t steps = at_most(pairs - p, kWidth);
      BP_UNROLL(16)
      for (int j = 0; j < kWidth; ++j) {
        if (j < steps) store(panel + (p + j) * ld + v * kWidth, r[j]);
      }
    }
  }
}

}  // namespace bp::BP_TIER
