// repeat: each sample n times, along a new first axis.  masking: steps all of whose values are one number become zeros.
//
//   repeat   x (N, ..)   y (N, n, ..), y_t = x;  dx = sum of dy_t over t, in order
//   masking  x (N, T, ..)   y_t = x_t, or 0 where all of x_t is `value`;  dx_t = dy_t, or 0 there
// Cost: copies.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Repeat final : public Op<T> {
 public:
  Repeat(const Shape& x, std::int64_t count) : size_(size_of(x)), count_(count) {
    this->sizes_.shape = x;
    this->sizes_.shape.insert(this->sizes_.shape.begin(), count);
    this->facts_.keeps_probabilities = true;
    this->facts_.differential = Differential::kAffine;
  }
  void forward(const Io<T>& io, const Block& block, T*) const override {
    T* y = io.y + block.rows.begin * count_ * size_;
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      for (std::int64_t t = 0; t < count_; ++t, y += size_) std::copy_n(io.x[0] + r * size_, size_, y);
    }
  }
  void backward(const Io<T>& io, const Block& block, T*) const override {
    if (io.dx[0] == nullptr) return;
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      kernels<T>().column_sum(io.dy + r * count_ * size_, size_, io.dx[0] + r * size_, count_, size_, 0,
                              adding(io.add[0]));
    }
  }

 private:
  std::int64_t size_, count_;
};

template <class T> class Masking final : public Op<T> {
 public:
  Masking(const Shape& x, double value)
      : steps_(x[0]), width_(size_of(x) / std::max<std::int64_t>(x[0], 1)), value_(static_cast<T>(value)) {
    this->sizes_.shape = x;
  }
  void forward(const Io<T>& io, const Block& block, T*) const override {
    each_step(io, block, [&](std::int64_t at, bool counts) {
      if (counts) {
        std::copy_n(io.x[0] + at, width_, io.y + at);
      } else {
        std::fill_n(io.y + at, width_, T(0));
      }
    });
  }
  void backward(const Io<T>& io, const Block& block, T*) const override {
    if (io.dx[0] == nullptr) return;
    each_step(io, block, [&](std::int64_t at, bool counts) {
      if (counts && io.add[0]) {
        kernels<T>().axpy(T(1), io.dy + at, io.dx[0] + at, width_);
      } else if (counts) {
        std::copy_n(io.dy + at, width_, io.dx[0] + at);
      } else if (!io.add[0]) {
        std::fill_n(io.dx[0] + at, width_, T(0));
      }
    });
  }

 private:
  template <class F> void each_step(const Io<T>& io, const Block& block, F f) const {
    for (std::int64_t i = block.rows.begin * steps_; i < block.rows.end * steps_; ++i) {
      const T* const x = io.x[0] + i * width_;
      f(i * width_, std::any_of(x, x + width_, [&](T v) { return v != value_; }));
    }
  }
  std::int64_t steps_, width_;
  T value_;
};

}  // namespace

template <class T> OpPtr<T> make_repeat(const Node<T>& node) {
  node.expect(node.xs.size() == 1, "repeat takes one input");
  const std::int64_t count = node.integer("count");
  node.expect(count >= 1, "the count must be at least 1");
  return std::make_unique<Repeat<T>>(node.xs[0], count);
}
template <class T> OpPtr<T> make_masking(const Node<T>& node) {
  node.expect(node.xs.size() == 1 && !node.xs[0].empty(), "masking takes one input with steps");
  return std::make_unique<Masking<T>>(node.xs[0], node.number("value"));
}
BP_INSTANTIATE_MAKER(make_repeat)
BP_INSTANTIATE_MAKER(make_masking)

}  // namespace bp
