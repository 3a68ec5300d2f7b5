// What the windows at some positions of one sample see, written side by side: a matrix of a row for each position, R S
// C/G values of a group in the order of the filters' rows.
#pragma once

#include <vector>

#include "ops/padded.h"
#include "ops/windows.h"

namespace bp {

template <class T> class Panels {
 public:
  Panels(const Windows& windows, std::int64_t groups)
      : windows_(windows), groups_(groups), group_channels_(windows.channels / groups) {
    const Windows::Axis &rows = windows.rows, &columns = windows.columns;
    image_ = {rows.in, columns.in, windows.channels, rows.before, rows.after, columns.before, columns.after};
    const bool whole = groups == 1 && columns.dilation == 1;  // a row of the window is one run in the image
    width_ = group_channels_ * (whole ? columns.taps : 1);
    for (std::int64_t r = 0; r < rows.taps; ++r) {
      for (std::int64_t s = 0; s < (whole ? 1 : columns.taps); ++s) {
        runs_.push_back(r * rows.dilation * image_.row_size() + s * columns.dilation * windows.channels);
      }
    }
  }

  std::int64_t depth() const { return windows_.taps() * group_channels_; }
  const Padded& image() const { return image_; }

  // image: the whole sample, padded; depth: some of the columns. The panel's rows are as long as it says.
  void fill(const T* image, Rows positions, std::int64_t g, Rows depth, T* panel) const {
    each_row(positions, g, [&](std::int64_t row, std::int64_t n, std::int64_t from) {
      for (std::int64_t i = 0; i < n; ++i, ++row, from += step()) {
        T* to = panel + row * depth.count();
        for (std::int64_t d = depth.begin; d < depth.end;) {
          const std::int64_t some = std::min(width_ - d % width_, depth.end - d);
          to = std::copy_n(image + from + runs_[static_cast<std::size_t>(d / width_)] + d % width_, some, to);
          d += some;
        }
      }
    });
  }

  // image += the panel, of all columns, in the order of positions.
  void give(const T* panel, Rows positions, std::int64_t g, T* image) const {
    each_row(positions, g, [&](std::int64_t row, std::int64_t n, std::int64_t to) {
      kernels<T>().add_runs(panel + row * depth(), depth(), image + to, step(), n, runs_.data(),
                            static_cast<std::int64_t>(runs_.size()), width_);
    });
  }

 private:
  std::int64_t step() const { return windows_.columns.stride * windows_.channels; }

  // one(row of the panel, n, at): n positions of one row of the output, the first of which sees image[at ...].
  template <class One> void each_row(Rows positions, std::int64_t g, One one) const {
    const std::int64_t out = windows_.columns.out();
    for (std::int64_t p = positions.begin; p < positions.end;) {
      const std::int64_t n = std::min(out - p % out, positions.end - p);
      one(p - positions.begin, n,
          p / out * windows_.rows.stride * image_.row_size() + p % out * step() + g * group_channels_);
      p += n;
    }
  }

  Windows windows_;
  std::int64_t groups_, group_channels_, width_;
  Padded image_;
  std::vector<std::int64_t> runs_;  // where a window's begin in the image
};

}  // namespace bp
