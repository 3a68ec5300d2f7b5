#include "ops/window_products.h"

#include <algorithm>
#include <array>

namespace bp {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

}  // namespace

template <class T>
WindowProducts<T>::WindowProducts(const Windows& windows, std::int64_t groups, std::int64_t filters, bool depthwise)
    : windows_(windows), groups_(groups), filters_(filters), group_channels_(windows.channels / groups),
      group_filters_(filters / groups), lanes_(group_channels_ == 1 && groups > 1),
      width_(lanes_ ? filters : windows.channels), rows_of_a_tap_(depthwise ? groups : group_channels_) {
  const Windows::Axis &rows = windows.rows, &columns = windows.columns;
  image_ = {rows.in,    columns.in,     windows.channels, rows.before,
            rows.after, columns.before, columns.after,    lanes_ ? group_filters_ : 1};
  plan_forward();
  plan_backward();
}

// Joined with the run before where the terms go on as they do in it.
template <class T>
void WindowProducts<T>::add_run(std::vector<Run>& runs, Run run, std::int64_t a_step, std::int64_t b_step) const {
  if (!runs.empty()) {
    Run& last = runs.back();
    if (run.a == last.a + last.steps * a_step && run.b == last.b + last.steps * b_step) {
      last.steps += run.steps;
      return;
    }
  }
  runs.push_back(run);
}

template <class T> std::int64_t WindowProducts<T>::offset(std::int64_t tap) const {
  const Windows::Axis &rows = windows_.rows, &columns = windows_.columns;
  return tap / columns.taps * rows.dilation * image_.row_size() + tap % columns.taps * columns.dilation * width_;
}

template <class T> void WindowProducts<T>::plan_forward() {
  const std::int64_t steps = lanes_ ? 1 : group_channels_;
  for (std::int64_t tap = 0; tap < windows_.taps(); ++tap) {
    add_run(forward_, {offset(tap), tap * steps * filters_, steps}, forward_step(), filters_);
  }
}

// Of an axis: the taps, last ones first, that see input positions stride u + phase, and from output position u + at.
template <class T>
std::vector<typename WindowProducts<T>::Sight> WindowProducts<T>::sights(const Windows::Axis& axis,
                                                                         std::int64_t phase) {
  std::vector<Sight> found;
  for (std::int64_t tap = axis.taps; tap-- > 0;) {
    const std::int64_t from = phase + axis.before - tap * axis.dilation;
    if (from % axis.stride == 0) found.push_back({tap, from / axis.stride});
  }
  return found;
}

// The zeros that delta needs before and behind an axis, so that all that is seen exists.
template <class T> Rows WindowProducts<T>::margin(const Windows::Axis& axis) {
  Rows margin{0, 0};
  for (std::int64_t phase = 0; phase < std::min(axis.stride, axis.in); ++phase) {
    for (const Sight& sight : sights(axis, phase)) {
      margin.begin = std::max(margin.begin, -sight.at);
      margin.end = std::max(margin.end, (axis.in - 1 - phase) / axis.stride + sight.at - (axis.out() - 1));
    }
  }
  return margin;
}

template <class T> void WindowProducts<T>::plan_backward() {
  const Windows::Axis &rows = windows_.rows, &columns = windows_.columns;
  const Rows above = margin(rows), beside = margin(columns);
  delta_ = {rows.out(), columns.out(), filters_, above.begin, above.end, beside.begin, beside.end};
  const std::int64_t steps = lanes_ ? 1 : group_filters_, last = windows_.taps() - 1;
  for (std::int64_t i = 0; i < std::min(rows.stride, rows.in); ++i) {
    for (std::int64_t j = 0; j < std::min(columns.stride, columns.in); ++j) {
      std::vector<Run>& runs = backward_.emplace_back();
      for (const Sight& r : sights(rows, i)) {
        for (const Sight& s : sights(columns, j)) {
          const std::int64_t tap = last - (r.tap * columns.taps + s.tap);
          add_run(runs, {r.at * delta_.row_size() + s.at * filters_, tap * steps * turned_row(), steps}, turned_step(),
                  turned_row());
        }
      }
    }
  }
}

template <class T> std::int64_t WindowProducts<T>::rows_seen(std::int64_t positions) const {
  const std::int64_t out = windows_.columns.out(), most = std::min(windows_.rows.out(), (positions - 2) / out + 2);
  return (most - 1) * windows_.rows.stride + windows_.rows.reach();
}

template <class T> void WindowProducts<T>::forward(const T* x, const T* w, const T* bias, T* z, T* scratch) const {
  const Windows::Axis &rows = windows_.rows, &columns = windows_.columns;
  const T* const image = image_.look(x, {0, image_.height()}, scratch);
  RunProduct<T> p{};
  p.m = columns.out(), p.n = lanes_ ? filters_ : group_filters_;
  p.a_row = columns.stride * width_, p.a_step = forward_step();
  p.b_step = p.ldc = filters_;
  p.lanes = lanes_;
  p.runs = forward_.data(), p.count = static_cast<std::int64_t>(forward_.size());
  for (std::int64_t i = 0; i < rows.out(); ++i, z += p.m * filters_) {
    for (std::int64_t g = 0; g < (lanes_ ? 1 : groups_); ++g) {
      p.a = image + i * rows.stride * image_.row_size() + g * group_channels_;
      p.b = w + g * group_filters_;
      p.c = z + g * group_filters_;
      p.bias = bias == nullptr ? nullptr : bias + g * group_filters_;
      kernels<T>().run_product(p);
    }
  }
}

// As backward reads them: the last tap first; of each group's tap (filters, channels).
template <class T> void WindowProducts<T>::turn(const T* w, T* turned) const {
  const std::int64_t taps = windows_.taps(), size = group_channels_ * group_filters_;
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    const T* const from = w + (taps - 1 - tap) * group_channels_ * filters_;
    if (lanes_) {
      std::copy_n(from, filters_, turned + tap * filters_);
      continue;
    }
    for (std::int64_t g = 0; g < groups_; ++g) {
      kernels<T>().transpose(from + g * group_filters_, filters_, turned + (g * taps + tap) * size, group_channels_,
                             group_channels_, group_filters_);
    }
  }
}

template <class T>
void WindowProducts<T>::backward(const T* delta, const T* turned, T* dx, bool add, T* scratch) const {
  const Windows::Axis &rows = windows_.rows, &columns = windows_.columns;
  const T* const seen = delta_.look(delta, {0, delta_.height()}, scratch);
  T* const to = turns_back(add) ? scratch + delta_scratch() : dx;
  RunProduct<T> p{};
  p.n = lanes_ ? filters_ : group_channels_;
  p.a_row = filters_, p.a_step = turned_step();
  p.b_step = turned_row();
  p.ldc = columns.stride * width_;
  p.lanes = lanes_;
  for (std::int64_t i = 0; i < rows.in; ++i) {
    for (std::int64_t j = 0; j < std::min(columns.stride, columns.in); ++j) {
      const std::vector<Run>& runs = backward_[at(i % rows.stride * std::min(columns.stride, columns.in) + j)];
      p.m = (columns.in - j + columns.stride - 1) / columns.stride;
      p.runs = runs.data(), p.count = static_cast<std::int64_t>(runs.size());
      for (std::int64_t g = 0; g < (lanes_ ? 1 : groups_); ++g) {
        p.a = seen + (delta_.top + i / rows.stride) * delta_.row_size() + delta_.left * filters_ + g * group_filters_;
        p.b = turned + g * windows_.taps() * group_channels_ * group_filters_;
        p.c = to + (i * columns.in + j) * width_ + g * group_channels_;
        kernels<T>().run_product(p);
      }
    }
  }
  if (to == dx) return;
  Padded whole = image_;
  whole.top = whole.bottom = whole.left = whole.right = 0;
  whole.take(to, dx, add);
}

template <class T>
void WindowProducts<T>::gradient(const T* x, const T* delta, Rows positions, const Tile& tile, bool goes_on, T* to,
                                 T* scratch) const {
  const Windows::Axis &rows = windows_.rows, &columns = windows_.columns;
  const std::int64_t out = columns.out(), first = positions.begin / out, last = (positions.end - 1) / out;
  RunProduct<T> p{};
  p.a = image_.look(x, {first * rows.stride, last * rows.stride + rows.reach()}, scratch);
  p.b = delta + positions.begin * filters_, p.b_step = filters_;
  p.a_step = columns.stride * width_;
  if (out == 1) p.a_step = rows.stride * image_.row_size();  // a column: its positions are one run
  std::array<Run, BatchChunks::kPositions> runs;
  p.runs = runs.data();
  for (std::int64_t i = positions.begin; i < positions.end;) {
    const std::int64_t row = i / out, column = i % out;
    const std::int64_t steps = out == 1 ? positions.count() : std::min(out - column, positions.end - i);
    runs[at(p.count++)] = {(row - first) * rows.stride * image_.row_size() + column * columns.stride * width_,
                           (i - positions.begin) * filters_, steps};
    i += steps;
  }
  p.goes_on = goes_on;
  if (lanes_) {
    gradient_of_lanes(p, tile, to);
  } else {
    gradient_of_groups(p, tile, to);
  }
}

// Rows of the tile that see neighbours in the image are rows of a product: those of a tap, or of a row of the window.
template <class T> void WindowProducts<T>::gradient_of_groups(RunProduct<T>& p, const Tile& tile, T* to) const {
  const std::int64_t run = forward_[0].steps, across = tile.columns.count();
  const T *const image = p.a, *const delta = p.b;
  p.a_row = 1, p.a_group = windows_.rows.dilation * image_.row_size();
  p.ldc = across;
  for (std::int64_t d = tile.rows.begin; d < tile.rows.end; d += p.m) {
    p.m = std::min(run - d % run, tile.rows.end - d);
    const bool rows_of_windows = run == windows_.columns.taps * group_channels_ && p.m == run;
    p.per = rows_of_windows ? run : 0;
    if (rows_of_windows) p.m = (tile.rows.end - d) / run * run;
    const std::int64_t seen = offset(d / run * run / group_channels_) + d % run;
    for (std::int64_t k = tile.columns.begin; k < tile.columns.end; k += p.n) {
      p.n = std::min(group_filters_ - k % group_filters_, tile.columns.end - k);
      p.a = image + seen + k / group_filters_ * group_channels_;
      p.b = delta + k;
      p.c = to + (d - tile.rows.begin) * across + k - tile.columns.begin;
      kernels<T>().run_product(p);
    }
  }
}

// Taps that are neighbours in a row of the window are rows of a product, where the tile has all of them.
template <class T> void WindowProducts<T>::gradient_of_lanes(RunProduct<T>& p, const Tile& tile, T* to) const {
  const std::int64_t height = rows_of_a_tap_, width = filters_ / height, across = tile.columns.count();
  const T *const image = p.a, *const delta = p.b;
  p.lanes = true;
  p.a_row = windows_.columns.dilation * width_, p.a_group = windows_.rows.dilation * image_.row_size();
  p.ldc = height * across;
  const std::int64_t step = across == width ? height : 1;  // rows whose columns follow each other
  for (std::int64_t row = tile.rows.begin; row < tile.rows.end;) {
    const std::int64_t tap = row / height, c = row % height;
    const std::int64_t some = std::min({step, height - c, tile.rows.end - row});
    const std::int64_t taps = windows_.columns.taps, whole = (tile.rows.end - row) / height;
    p.m = some < height ? 1 : std::min(taps - tap % taps, whole);
    p.per = some == height && p.m == taps ? taps : 0;
    if (p.per > 0) p.m = whole / taps * taps;
    p.n = some * across;
    const std::int64_t lane = c * width + tile.columns.begin;
    p.a = image + offset(tap) + lane;
    p.b = delta + lane;
    p.c = to + (row - tile.rows.begin) * across;
    kernels<T>().run_product(p);
    row += p.m * some;
  }
}

template class WindowProducts<float>;
template class WindowProducts<double>;

}  // namespace bp
