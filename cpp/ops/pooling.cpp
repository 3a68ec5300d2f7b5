// pooling: the largest value of each window, or the mean of those that lie in x, channel by channel.
//
//   x (N, H, W, C)  y (N, P, Q, C); of sequences x (N, T, C), y (N, Q, C)
//   mean   y = sum of what the window sees of x, in the order of taps, / n;  dx += dy / n at each of the n positions
//   most   y = max of what the window sees of x;  dx += dy at the first tap that has it
// dx adds its windows in the order of positions and taps. Kept: x, y. Flops a sample: P Q R S C.
#include "ops/windows.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Pooling final : public Op<T> {
 public:
  Pooling(const Windows& windows, Shape shape, bool most) : windows_(windows), most_(most) {
    this->sizes_.shape = std::move(shape);
    this->sizes_.flops = checked_mul(checked_mul(windows.positions(), windows.taps()), windows.channels);
    if (!most) this->facts_.differential = Differential::kAffine;
  }
  std::int64_t scratch(std::int64_t) const override { return windows_.channels; }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const std::int64_t width = windows_.channels;
    const auto join = kernels<T>().binary[static_cast<int>(most_ ? Binary::kMaximum : Binary::kAdd)];
    T* y = io.y + block.rows.begin * windows_.positions() * width;
    for (std::int64_t i = block.rows.begin; i < block.rows.end; ++i) {
      const T* const x = io.x[0] + i * windows_.in_size();
      for (std::int64_t p = 0; p < windows_.positions(); ++p, y += width) {
        std::int64_t n = 0;
        each_tap(p, [&](std::int64_t at) {
          if (n++ == 0) {
            std::copy_n(x + at, width, y);
          } else {
            join(y, 1, x + at, 1, y, width);
          }
        });
        if (!most_) kernels<T>().scale(T(1) / static_cast<T>(n), y, width);
      }
    }
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    if (io.dx[0] == nullptr) return;
    const std::int64_t width = windows_.channels, positions = windows_.positions();
    for (std::int64_t i = block.rows.begin; i < block.rows.end; ++i) {
      const T* const x = io.x[0] + i * windows_.in_size();
      T* const dx = io.dx[0] + i * windows_.in_size();
      if (!io.add[0]) std::fill_n(dx, windows_.in_size(), T(0));
      for (std::int64_t p = 0; p < positions; ++p) {
        const T* const y = io.y + (i * positions + p) * width;
        std::copy_n(io.dy + (i * positions + p) * width, width, scratch);
        if (most_) {
          each_tap(p, [&](std::int64_t at) { give(x + at, y, scratch, dx + at); });
          continue;
        }
        std::int64_t n = 0;
        each_tap(p, [&](std::int64_t) { ++n; });
        kernels<T>().scale(T(1) / static_cast<T>(n), scratch, width);
        each_tap(p, [&](std::int64_t at) { kernels<T>().axpy(T(1), scratch, dx + at, width); });
      }
    }
  }

 private:
  // What is left of dy goes to where x is y.
  void give(const T* x, const T* y, T* left, T* dx) const {
    for (std::int64_t c = 0; c < windows_.channels; ++c) {
      const bool takes = x[c] == y[c];
      dx[c] += takes ? left[c] : T(0);
      left[c] = takes ? T(0) : left[c];
    }
  }

  // Where in a sample the taps of output position p lie that are inside of it.
  template <class Tap> void each_tap(std::int64_t p, Tap tap) const {
    const Windows::Axis &rows = windows_.rows, &columns = windows_.columns;
    const std::int64_t top = rows.first(p / columns.out()), left = columns.first(p % columns.out());
    for (std::int64_t r = 0, i = top; r < rows.taps; ++r, i += rows.dilation) {
      if (i < 0 || i >= rows.in) continue;
      for (std::int64_t s = 0, j = left; s < columns.taps; ++s, j += columns.dilation) {
        if (j >= 0 && j < columns.in) tap((i * columns.in + j) * windows_.channels);
      }
    }
  }

  Windows windows_;
  bool most_;
};

}  // namespace

template <class T> OpPtr<T> make_pooling(const Node<T>& node) {
  const Windows windows = read_windows(node, node.integers("window"));
  for (const Windows::Axis& axis : {windows.rows, windows.columns}) {
    node.expect(axis.before < axis.reach() && axis.after < axis.reach() && axis.dilation == 1,
                "a window would see nothing but padding");
  }
  Shape shape{windows.columns.out(), windows.channels};
  if (node.xs[0].size() == 3) shape.insert(shape.begin(), windows.rows.out());
  return std::make_unique<Pooling<T>>(windows, std::move(shape), node.flag("most"));
}
BP_INSTANTIATE_MAKER(make_pooling)

}  // namespace bp
