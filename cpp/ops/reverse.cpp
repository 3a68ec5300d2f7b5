// reverse: the steps of a sequence in the other order.
//
//   x (N, T, ..)   mask (N, T), optional: 0 where a step does not count; the steps that do are the first n of a sample
//   y_t = x_{n-1-t} for t < n, 0 behind;  dx likewise of dy.  Cost: a copy.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Reverse final : public Op<T> {
 public:
  Reverse(const Shape& x, bool masked) : steps_(x[0]), width_(size_of(x) / std::max<std::int64_t>(x[0], 1)) {
    this->sizes_.shape = x;
    this->facts_.keeps_probabilities = true;
    if (!masked) this->facts_.differential = Differential::kAffine;
  }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      turn(io, r, io.x[0], io.y, false);
    }
  }
  void backward(const Io<T>& io, const Block& block, T*) const override {
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      if (io.dx[0] != nullptr) turn(io, r, io.dy, io.dx[0], io.add[0]);
      if (io.dx.size() > 1 && io.dx[1] != nullptr && !io.add[1]) std::fill_n(io.dx[1] + r * steps_, steps_, T(0));
    }
  }

 private:
  void turn(const Io<T>& io, std::int64_t row, const T* from, T* to, bool add) const {
    from += row * steps_ * width_, to += row * steps_ * width_;
    std::int64_t n = steps_;
    if (io.x.size() > 1) {
      while (n > 0 && io.x[1][row * steps_ + n - 1] == T(0)) --n;
    }
    for (std::int64_t t = 0; t < n; ++t) {
      const T* const x = from + (n - 1 - t) * width_;
      if (add) {
        kernels<T>().axpy(T(1), x, to + t * width_, width_);
      } else {
        std::copy_n(x, width_, to + t * width_);
      }
    }
    if (!add) std::fill_n(to + n * width_, (steps_ - n) * width_, T(0));
  }
  std::int64_t steps_, width_;
};

}  // namespace

template <class T> OpPtr<T> make_reverse(const Node<T>& node) {
  node.expect(node.xs.size() == 1 || node.xs.size() == 2, "reverse takes one input and perhaps a mask");
  node.expect(!node.xs[0].empty(), "there is no axis of steps");
  node.expect(node.xs.size() == 1 || node.xs[1] == Shape{node.xs[0][0]}, "the mask does not fit");
  return std::make_unique<Reverse<T>>(node.xs[0], node.xs.size() > 1);
}
BP_INSTANTIATE_MAKER(make_reverse)

}  // namespace bp
