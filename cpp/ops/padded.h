// An image with a margin of zeros, so that what windows see of it lies at fixed distances.
#pragma once

#include <algorithm>

#include "base/buffer.h"
#include "kernels/table.h"

namespace bp {

struct Padded {
  std::int64_t rows = 1, columns = 1, channels = 1;       // of the image
  std::int64_t top = 0, bottom = 0, left = 0, right = 0;  // the margin
  std::int64_t repeat = 1;                                // each value so many times, as so many channels

  std::int64_t height() const { return top + rows + bottom; }
  std::int64_t row_size() const { return (left + columns + right) * channels * repeat; }
  std::int64_t size() const { return height() * row_size(); }
  bool is_plain() const { return top == 0 && bottom == 0 && left == 0 && right == 0 && repeat == 1; }

  // Some rows, counted with the margin: of the image itself where it has none, else copied.
  template <class T> const T* look(const T* x, Rows some, T* to) const {
    if (is_plain()) return x + some.begin * row_size();
    T* at = to;
    const std::int64_t inside = columns * channels;
    for (std::int64_t i = some.begin - top; i < some.end - top; ++i, at += row_size()) {
      if (i < 0 || i >= rows) {
        std::fill_n(at, row_size(), T(0));
        continue;
      }
      T* const from = std::fill_n(at, left * channels * repeat, T(0));
      const T* const values = x + i * inside;
      T* end = from;
      if (repeat == 1) {
        end = std::copy_n(values, inside, from);
      } else {
        for (std::int64_t j = 0; j < inside; ++j) end = std::fill_n(end, repeat, values[j]);
      }
      std::fill_n(end, right * channels * repeat, T(0));
    }
    return to;
  }

  // x = or += what lies inside of the margin; of repeated values their sum.
  template <class T> void take(const T* padded, T* x, bool add) const {
    for (std::int64_t i = 0; i < rows; ++i) {
      const T* from = padded + (top + i) * row_size() + left * channels * repeat;
      if (repeat == 1) {
        const std::int64_t inside = columns * channels;
        add ? kernels<T>().axpy(T(1), from, x, inside) : void(std::copy_n(from, inside, x));
        x += inside;
        continue;
      }
      for (std::int64_t j = 0; j < columns * channels; ++j, ++x, from += repeat) {
        T sum = *from;
        for (std::int64_t k = 1; k < repeat; ++k) sum += from[k];
        *x = add ? *x + sum : sum;
      }
    }
  }
};

}  // namespace bp
