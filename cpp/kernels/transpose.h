// y (cols x rows) = transpose of x (rows x cols), by blocks of W x W registers; exact.
//
// A masked edge reads zeros and stores only what belongs to y. Cost: one load, one store and log2(W) shuffles per
// vector.
#pragma once

#include "simd/transpose.h"

namespace bp::BP_TIER {

// What is read: all W x W elements, or the first `rows` x `cols` with zeros around them.
template <class T, bool kFull>
BP_INLINE void load_block(const T* x, std::int64_t ldx, std::int64_t rows, std::int64_t cols,
                          Vec<T> (&r)[Vec<T>::kWidth]) {
  BP_UNROLL(16)
  for (int i = 0; i < Vec<T>::kWidth; ++i) {
    if constexpr (kFull) {
      r[i] = load(x + i * ldx);
    } else {
      r[i] = i < rows ? load_n(x + i * ldx, cols) : Vec<T>(T(0));
    }
  }
}

// One block of `rows` x `cols` elements, both at most W, both W if kFull.
template <class T, bool kFull>
BP_INLINE void transpose_one(const T* x, std::int64_t ldx, T* y, std::int64_t ldy, std::int64_t rows,
                             std::int64_t cols) {
  Vec<T> r[Vec<T>::kWidth];
  load_block<T, kFull>(x, ldx, rows, cols, r);
  transpose_block<T>(r);
  BP_UNROLL(16)
  for (int j = 0; j < Vec<T>::kWidth; ++j) {
    if constexpr (kFull) {
      store(y + j * ldy, r[j]);
    } else if (j < cols) {
      store_n(y + j * ldy, r[j], rows);
    }
  }
}

// The same with the rows of y filled up to W by zeros.
template <class T>
BP_INLINE void transpose_padded(const T* x, std::int64_t ldx, T* y, std::int64_t ldy, std::int64_t rows,
                                std::int64_t cols) {
  Vec<T> r[Vec<T>::kWidth];
  load_block<T, false>(x, ldx, rows, cols, r);
  transpose_block<T>(r);
  BP_UNROLL(16)
  for (int j = 0; j < Vec<T>::kWidth; ++j) {
    if (j < cols) store(y + j * ldy, r[j]);
  }
}

// Of at most W / 2 rows, which fill a block of registers two by two: 2 W columns at a time.
template <class T>
BP_INLINE void transpose_few(const T* x, std::int64_t ldx, T* y, std::int64_t ldy, std::int64_t rows,
                             std::int64_t cols) {
  constexpr int kWidth = Vec<T>::kWidth, kHalf = kWidth / 2;
  for (; cols > 0; cols -= 2 * kWidth, x += 2 * kWidth, y += 2 * kWidth * ldy) {
    const std::int64_t low = cols < kWidth ? cols : kWidth, high = cols - low < kWidth ? cols - low : kWidth;
    Vec<T> r[kWidth];
    BP_UNROLL(16)
    for (int i = 0; i < kHalf; ++i) {
      r[i] = i < rows ? load_n(x + i * ldx, low) : Vec<T>(T(0));
      r[i + kHalf] = i < rows && high > 0 ? load_n(x + i * ldx + kWidth, high) : Vec<T>(T(0));
    }
    transpose_block<T>(r);
    BP_UNROLL(16)
    for (int j = 0; j < kWidth; ++j) {
      if (j < low) store_n(y + j * ldy, r[j], rows);
      if (j < high) store_n(y + (kWidth + j) * ldy, high_half<T>(r[j]), rows);
    }
  }
}

template <class T>
void transpose_matrix(const T* x, std::int64_t ldx, T* y, std::int64_t ldy, std::int64_t rows, std::int64_t cols) {
  constexpr std::int64_t kWidth = Vec<T>::kWidth;
  for (std::int64_t i = 0; i < rows; i += kWidth) {
    const std::int64_t height = rows - i < kWidth ? rows - i : kWidth;
    for (std::int64_t j = 0; j < cols; j += kWidth) {
      const std::int64_t width = cols - j < kWidth ? cols - j : kWidth;
      if (height == kWidth && width == kWidth) {
        transpose_one<T, true>(x + i * ldx + j, ldx, y + j * ldy + i, ldy, height, width);
      } else {
        transpose_one<T, false>(x + i * ldx + j, ldx, y + j * ldy + i, ldy, height, width);
      }
    }
  }
}

}  // namespace bp::BP_TIER
