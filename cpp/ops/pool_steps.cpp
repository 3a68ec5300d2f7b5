// pool_steps: the mean or the largest of a sequence's values, channel by channel, over the steps that count.
//
//   x (N, .., C), P positions   mask (N, P), optional: 0 where a step does not count   y (N, C)
//   mean   y = sum of x_p over the n positions that count / n, in order (0 of none);  dx_p = dy / n, 0 where p does not
//   count most   y = max of x_p;  dx_p = dy at the first position that has it, 0 elsewhere.  Kept: nothing. Flops a
//   sample: P C.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class PoolSteps final : public Op<T> {
 public:
  PoolSteps(const Shape& x, bool most)
      : width_(x.back()), positions_(size_of(x) / std::max<std::int64_t>(x.back(), 1)), most_(most) {
    this->sizes_.shape = {width_};
    this->sizes_.flops = size_of(x);
  }
  std::int64_t scratch(std::int64_t) const override { return width_; }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      const T* x = io.x[0] + r * positions_ * width_;
      T* y = io.y + r * width_;
      std::fill_n(y, width_, T(0));
      std::int64_t n = 0;
      for (std::int64_t p = 0; p < positions_; ++p) {
        if (!counts(io, r, p)) continue;
        take(x + p * width_, n++ == 0, y);
      }
      if (!most_ && n > 0) kernels<T>().scale(T(1) / static_cast<T>(n), y, width_);
    }
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      if (io.dx.size() > 1 && io.dx[1] != nullptr && !io.add[1]) {
        std::fill_n(io.dx[1] + r * positions_, positions_, T(0));
      }
      if (io.dx[0] == nullptr) continue;
      if (!io.add[0]) std::fill_n(io.dx[0] + r * positions_ * width_, positions_ * width_, T(0));
      if (most_) {
        give_most(io, r);
      } else {
        give_mean(io, r, scratch);
      }
    }
  }

 private:
  bool counts(const Io<T>& io, std::int64_t row, std::int64_t p) const {
    return io.x.size() == 1 || io.x[1][row * positions_ + p] != T(0);
  }
  void take(const T* x, bool first, T* y) const {
    if (first) {
      std::copy_n(x, width_, y);
    } else {
      kernels<T>().binary[static_cast<int>(most_ ? Binary::kMaximum : Binary::kAdd)](y, 1, x, 1, y, width_);
    }
  }
  void give_mean(const Io<T>& io, std::int64_t row, T* share) const {
    std::int64_t n = 0;
    for (std::int64_t p = 0; p < positions_; ++p) n += counts(io, row, p);
    if (n == 0) return;
    std::copy_n(io.dy + row * width_, width_, share);
    kernels<T>().scale(T(1) / static_cast<T>(n), share, width_);
    for (std::int64_t p = 0; p < positions_; ++p) {
      if (counts(io, row, p)) kernels<T>().axpy(T(1), share, io.dx[0] + (row * positions_ + p) * width_, width_);
    }
  }
  void give_most(const Io<T>& io, std::int64_t row) const {
    const T *x = io.x[0] + row * positions_ * width_, *y = io.y + row * width_, *dy = io.dy + row * width_;
    T* dx = io.dx[0] + row * positions_ * width_;
    for (std::int64_t c = 0; c < width_; ++c) {
      for (std::int64_t p = 0; p < positions_; ++p) {
        if (!counts(io, row, p) || x[p * width_ + c] != y[c]) continue;
        dx[p * width_ + c] += dy[c];
        break;
      }
    }
  }
  std::int64_t width_, positions_;
  bool most_;
};

}  // namespace

template <class T> OpPtr<T> make_pool_steps(const Node<T>& node) {
  const Shapes& xs = node.xs;
  node.expect((xs.size() == 1 || xs.size() == 2) && xs[0].size() >= 2,
              "expected positions and channels, and perhaps a mask");
  node.expect(xs.size() == 1 || size_of(xs[1]) * xs[0].back() == size_of(xs[0]), "the mask does not fit");
  return std::make_unique<PoolSteps<T>>(xs[0], node.flag("most"));
}
BP_INSTANTIATE_MAKER(make_pool_steps)

}  // namespace bp
