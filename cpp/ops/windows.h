// Windows that slide over an image: an output position sees R x S values of each channel of its input, zeros outside of
// it.
//
//   x (N, H, W, C), or (N, T, C), an image of height 1;  output positions (P, Q);  input row and column of a tap:
//   row = p stride - before + r dilation, column = q stride - before + s dilation
#pragma once

#include "ops/op.h"

namespace bp {

struct Windows {
  struct Axis {
    std::int64_t in = 1, taps = 1, stride = 1, dilation = 1, before = 0, after = 0;
    std::int64_t reach() const { return (taps - 1) * dilation + 1; }
    std::int64_t out() const { return (in + before + after - reach()) / stride + 1; }
    std::int64_t first(std::int64_t o) const { return o * stride - before; }  // of the taps at output o, maybe outside
  };
  Axis rows, columns;
  std::int64_t channels = 1;

  std::int64_t in_size() const { return rows.in * columns.in * channels; }
  std::int64_t positions() const { return rows.out() * columns.out(); }
  std::int64_t taps() const { return rows.taps * columns.taps; }
  bool are_pixels() const {  // each output position is one position of the input, in order
    for (const Axis& axis : {rows, columns}) {
      if (axis.taps != 1 || axis.stride != 1 || axis.before != 0 || axis.after != 0) return false;
    }
    return true;
  }
};

// By the attributes `strides`, `dilation` (of one or two axes) and `padding` (before and after, an axis after the
// other).
template <class T> Windows read_windows(const Node<T>& node, const Shape& taps) {
  node.expect(node.xs.size() == 1 && (node.xs[0].size() == 2 || node.xs[0].size() == 3),
              node.op + " takes one input, (N, T, C) or (N, H, W, C)");
  const Shape& x = node.xs[0];
  const Shape strides = node.integers("strides"), dilation = node.integers("dilation"),
              padding = node.integers("padding");
  const std::size_t rank = x.size() - 1;
  node.expect(taps.size() == rank && strides.size() == rank && dilation.size() == rank && padding.size() == 2 * rank,
              "windows, strides, dilation or padding are not of as many axes as " + to_string(x));
  Windows windows;
  windows.channels = x.back();
  node.expect(size_of(x) > 0, "got x of shape " + to_string(x) + " a sample, expected some values");
  for (std::size_t i = 0; i < rank; ++i) {
    Windows::Axis& axis = i + 1 == rank ? windows.columns : windows.rows;
    axis = {x[i], taps[i], strides[i], dilation[i], padding[2 * i], padding[2 * i + 1]};
    node.expect(axis.taps > 0 && axis.stride > 0 && axis.dilation > 0 && axis.before >= 0 && axis.after >= 0,
                "windows, strides and dilation are at least 1, padding is at least 0");
    node.expect(checked_mul(axis.taps, axis.dilation) > 0 && axis.in + axis.before + axis.after >= axis.reach(),
                "a window reaches over " + std::to_string(axis.reach()) +
                    " values of an axis that has, with padding, " + std::to_string(axis.in + axis.before + axis.after));
  }
  size_of({windows.rows.out(), windows.columns.out(), windows.channels, windows.rows.taps, windows.columns.taps});
  return windows;
}

}  // namespace bp
