// The three products of a convolution, without an array of what its windows see: the terms of a sum lie in runs, in an
// image with a margin of zeros.
//
//   forward   an element of z is one chain over taps and channels
//   backward  an element of dx is one chain over the positions that saw it, in order, and their filters
//   gradient  an element of dw is a chain over positions, some of those of one sample
// lanes: each group is one channel. Then columns of the products are channels, each with filters of its own: channel c
// M + m of the image, repeated M times, has filter m of channel c.
#pragma once

#include <vector>

#include "ops/padded.h"
#include "ops/windows.h"

namespace bp {

template <class T> class WindowProducts {
 public:
  // depthwise: the kernel is (R, S, C, M), else (R, S, C / groups, filters).
  WindowProducts(const Windows& windows, std::int64_t groups, std::int64_t filters, bool depthwise);

  bool lanes() const { return lanes_; }

  // In elements.
  std::int64_t forward_scratch() const { return image_scratch(image_.height()); }
  std::int64_t turned_size() const { return align_up<T>(windows_.taps() * group_channels_ * filters_); }
  std::int64_t backward_scratch() const {
    return delta_scratch() + align_up<T>(windows_.rows.in * windows_.columns.in * width_);
  }
  std::int64_t gradient_scratch() const { return image_scratch(rows_seen(BatchChunks::kPositions)); }

  // Of one sample. turned: what turn() makes of the weights.
  void forward(const T* x, const T* w, const T* bias, T* z, T* scratch) const;
  void turn(const T* w, T* turned) const;
  void backward(const T* delta, const T* turned, T* dx, bool add, T* scratch) const;
  // Of some positions, no more than a chunk has. to: the tile, compact.
  void gradient(const T* x, const T* delta, Rows positions, const Tile& tile, bool goes_on, T* to, T* scratch) const;

 private:
  struct Sight {
    std::int64_t tap, at;
  };
  static std::vector<Sight> sights(const Windows::Axis& axis, std::int64_t phase);
  static Rows margin(const Windows::Axis& axis);

  void plan_forward();
  void plan_backward();
  void add_run(std::vector<Run>& runs, Run run, std::int64_t a_step, std::int64_t b_step) const;
  void gradient_of_groups(RunProduct<T>& p, const Tile& tile, T* to) const;
  void gradient_of_lanes(RunProduct<T>& p, const Tile& tile, T* to) const;

  std::int64_t offset(std::int64_t tap) const;  // of what a tap sees, in the padded image
  std::int64_t forward_step() const { return lanes_ ? windows_.columns.dilation * width_ : 1; }
  std::int64_t turned_step() const { return lanes_ ? filters_ : 1; }
  std::int64_t turned_row() const { return lanes_ ? filters_ : group_channels_; }
  std::int64_t rows_seen(std::int64_t positions) const;  // at most, of the padded image
  std::int64_t image_scratch(std::int64_t rows) const {
    return image_.is_plain() ? 0 : align_up<T>(rows * image_.row_size());
  }
  std::int64_t delta_scratch() const { return delta_.is_plain() ? 0 : align_up<T>(delta_.size()); }
  bool turns_back(bool add) const { return add || image_.repeat > 1; }

  Windows windows_;
  std::int64_t groups_, filters_, group_channels_, group_filters_;
  bool lanes_;
  std::int64_t width_, rows_of_a_tap_;      // channels of the padded image; of the kernel, seen as a matrix
  Padded image_, delta_;                    // as forward and gradient see x, as backward sees delta
  std::vector<Run> forward_;                // what each output position sees
  std::vector<std::vector<Run>> backward_;  // what saw an input position, by its place within a stride
};

}  // namespace bp
