// sum: y = scale * (sum of x along one axis), of each sample; with scale = 1 / K the mean.
//
//   x (N, outer, K, inner)  y (N, outer, inner), in the shape that the node says
//   dx[.., k, ..] = scale dy
// Kept: nothing. A sum is one chain in the order of k. Flops a sample: outer K inner either way.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Sum final : public Op<T> {
 public:
  Sum(const Shape& x, std::size_t axis, Shape y, T scale) : k_(x[axis]), scale_(scale) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (i != axis) (i < axis ? outer_ : inner_) *= x[i];
    }
    this->sizes_.shape = std::move(y);
    this->sizes_.flops = size_of(x);
  }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const T* x = io.x[0] + block.rows.begin * outer_ * k_ * inner_;
    T* y = io.y + block.rows.begin * outer_ * inner_;
    for (std::int64_t r = 0; r < block.rows.count() * outer_; ++r, x += k_ * inner_, y += inner_) {
      std::copy_n(x, inner_, y);
      for (std::int64_t k = 1; k < k_; ++k) {
        for (std::int64_t i = 0; i < inner_; ++i) y[i] += x[k * inner_ + i];
      }
      if (scale_ == 1) continue;
      for (std::int64_t i = 0; i < inner_; ++i) y[i] *= scale_;
    }
  }

  void backward(const Io<T>& io, const Block& block, T*) const override {
    T* dx = io.dx[0] + block.rows.begin * outer_ * k_ * inner_;
    const T* dy = io.dy + block.rows.begin * outer_ * inner_;
    for (std::int64_t r = 0; r < block.rows.count() * outer_; ++r, dy += inner_) {
      for (std::int64_t k = 0; k < k_; ++k, dx += inner_) {
        for (std::int64_t i = 0; i < inner_; ++i) {
          const T d = dy[i] * scale_;
          dx[i] = io.add[0] ? dx[i] + d : d;
        }
      }
    }
  }

 private:
  std::int64_t outer_ = 1, inner_ = 1, k_;
  T scale_;
};

}  // namespace

template <class T> OpPtr<T> make_sum(const Node<T>& node) {
  node.expect(node.xs.size() == 1, "sum takes one input");
  const Shape& x = node.xs[0];
  const auto axis = static_cast<std::size_t>(node.integer("axis"));
  node.expect(axis < x.size(), "no axis " + std::to_string(axis) + " in " + to_string(x));
  const Shape y = node.integers("shape");
  node.expect(x[axis] > 0 && size_of(y) * x[axis] == size_of(x), "cannot sum " + to_string(x) + " to " + to_string(y));
  return std::make_unique<Sum<T>>(x, axis, y, static_cast<T>(node.number("scale", 1)));
}
BP_INSTANTIATE_MAKER(make_sum)

}  // namespace bp
