// sum: y = scale * (sum of x along one axis), of each sample; with scale = 1 / K the mean.
//
//   x (N, outer, K, inner)  y (N, outer, inner), in the shape that the node says
//   dx[.., k, ..] = scale dy
// Kept: nothing. A sum is one chain in the order of k. Flops a sample: outer K inner either way.
#include "ops/axis.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Sum final : public Op<T> {
 public:
  Sum(const Shape& x, std::size_t axis, Shape y, T scale) : axis_(x, axis), scale_(scale) {
    this->sizes_.shape = std::move(y);
    this->sizes_.flops = size_of(x);
    this->facts_.differential = Differential::kAffine;
  }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const auto& [outer, k, inner] = axis_;
    const T* x = io.x[0] + block.rows.begin * outer * k * inner;
    T* y = io.y + block.rows.begin * outer * inner;
    for (std::int64_t r = 0; r < block.rows.count() * outer; ++r, x += k * inner, y += inner) {
      std::copy_n(x, inner, y);
      for (std::int64_t n = 1; n < k; ++n) {
        for (std::int64_t i = 0; i < inner; ++i) y[i] += x[n * inner + i];
      }
      if (scale_ == 1) continue;
      for (std::int64_t i = 0; i < inner; ++i) y[i] *= scale_;
    }
  }

  void backward(const Io<T>& io, const Block& block, T*) const override {
    const auto& [outer, k, inner] = axis_;
    T* dx = io.dx[0] + block.rows.begin * outer * k * inner;
    const T* dy = io.dy + block.rows.begin * outer * inner;
    for (std::int64_t r = 0; r < block.rows.count() * outer; ++r, dy += inner) {
      for (std::int64_t n = 0; n < k; ++n, dx += inner) {
        for (std::int64_t i = 0; i < inner; ++i) {
          const T d = dy[i] * scale_;
          dx[i] = io.add[0] ? dx[i] + d : d;
        }
      }
    }
  }

 private:
  Axis axis_;
  T scale_;
};

}  // namespace

template <class T> OpPtr<T> make_sum(const Node<T>& node) {
  const std::size_t axis = read_axis(node);
  const Shape& x = node.xs[0];
  const Shape y = node.integers("shape");
  node.expect(x[axis] > 0 && size_of(y) * x[axis] == size_of(x), "cannot sum " + to_string(x) + " to " + to_string(y));
  return std::make_unique<Sum<T>>(x, axis, y, static_cast<T>(node.number("scale", 1)));
}
BP_INSTANTIATE_MAKER(make_sum)

}  // namespace bp
