// Copies of operands into the order in which the micro-kernel reads them.
//
// A panel of B holds whole vectors of columns, `vecs` of them, for every step p, zero past n. A panel of A holds `rows`
// rows for every step, if A is given transposed; else its rows are copied as they are. Packing pays where the
// original's stride makes lines collide in L1 (48 KB, 64 sets of 64 bytes: strides near a multiple of 4096 bytes share
// sets) or where B has to be transposed.
#pragma once

#include "kernels/gemm_plan.h"
#include "kernels/transpose.h"

namespace bp::BP_TIER {

// panel[p * vecs * W + j] = b[p * ldb + j] for j < n, else 0.
template <class T> void pack_b(const T* b, std::int64_t ldb, std::int64_t k, std::int64_t n, T* panel) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  const std::int64_t vecs = vectors<T>(n), full = n / kWidth, tail = n % kWidth;
  for (std::int64_t p = 0; p < k; ++p) {
    for (std::int64_t v = 0; v < vecs; ++v) __builtin_prefetch(b + kPackStepsAhead * ldb + v * kWidth);
    for (std::int64_t v = 0; v < full; ++v) store(panel + v * kWidth, load(b + v * kWidth));
    if (tail != 0) store(panel + full * kWidth, load_n(b + full * kWidth, tail));
    panel += vecs * kWidth;
    b += ldb;
  }
}

// The same from the transpose: panel[p * vecs * W + j] = bt[j * ldbt + p].
template <class T> void pack_b_transposed(const T* bt, std::int64_t ldbt, std::int64_t k, std::int64_t n, T* panel) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  const std::int64_t vecs = vectors<T>(n), ld = vecs * kWidth;
  for (std::int64_t v = 0; v < vecs; ++v) {
    const std::int64_t rows = n - v * kWidth < kWidth ? n - v * kWidth : kWidth;
    const T* x = bt + v * kWidth * ldbt;
    T* y = panel + v * kWidth;
    for (std::int64_t p = 0; p < k; p += kWidth) {
      const std::int64_t steps = k - p < kWidth ? k - p : kWidth;
      for (std::int64_t i = 0; i < rows; ++i) __builtin_prefetch(x + i * ldbt + p + kWidth);
      if (rows == kWidth && steps == kWidth) {
        transpose_one<T, true>(x + p, ldbt, y + p * ld, ld, rows, steps);
      } else {  // the rows past n are read as zeros: padding
        transpose_padded<T>(x + p, ldbt, y + p * ld, ld, rows, steps);
      }
    }
  }
}

// Rows of A, `ld` apart: what collided no longer does. Whole vectors are written.
template <class T>
void copy_rows(const T* a, std::int64_t lda, std::int64_t rows, std::int64_t k, T* to, std::int64_t ld) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  for (std::int64_t i = 0; i < rows; ++i, a += lda, to += ld) {
    std::int64_t p = 0;
    for (; p + kWidth <= k; p += kWidth) store(to + p, load(a + p));
    if (p < k) store(to + p, load_n(a + p, k - p));
  }
}

// All panels of a given transposed, tiles.parts of tiles.of(y) rows each: panel[p * rows + i] = a[p * lda + i]. Steps
// are the outer loop, because each is on a page of its own; where tiles are low and panels many a few at once, so that
// a panel gets whole lines: one step of all panels collides in L1 (v3, 1024x256x512 in place: 113 -> 122 GFLOP/s).
// Whole vectors are stored, but for the last step: up to a vector more than the last panel is written.
constexpr std::int64_t kStepsAtOnce = kManyRegisters ? 1 : 4;
template <class T> void pack_a_transposed(const T* a, std::int64_t lda, const Split& tiles, std::int64_t k, T* panels) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  const std::int64_t all = tiles.parts * tiles.size + tiles.larger;
  for (std::int64_t first = 0; first < k; first += kStepsAtOnce, a += kStepsAtOnce * lda) {
    const std::int64_t steps = at_most(k - first, kStepsAtOnce);
    for (std::int64_t y = 0, at = 0; y < tiles.parts; at += tiles.of(y), ++y) {
      const std::int64_t rows = tiles.of(y);
      const T* from = a + at;
      T* panel = panels + at * k + first * rows;
      for (std::int64_t p = first + 1; p <= first + steps; ++p, from += lda, panel += rows) {
        for (std::int64_t i = 0; i < rows; i += kWidth) {
          __builtin_prefetch(from + kPackStepsAhead * lda + i);
          const std::int64_t n = at_most(rows - i, kWidth);
          const Vec<T> values = all - at - i >= kWidth ? load(from + i) : load_n(from + i, n);
          if (p < k) {
            store(panel + i, values);
          } else {
            store_n(panel + i, values, n);
          }
        }
      }
    }
  }
}

}  // namespace bp::BP_TIER
