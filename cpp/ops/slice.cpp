// slice: y[.., j, ..] = x[.., start + j step, ..] along one axis of each sample, step not 0.
//
//   dx is dy at these places and 0 elsewhere
// Kept: nothing.
#include "ops/axis.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Slice final : public Op<T> {
 public:
  Slice(const Shape& x, std::size_t axis, std::int64_t start, std::int64_t step, std::int64_t count)
      : axis_(x, axis), start_(start), step_(step), count_(count) {
    this->sizes_.shape = x;
    this->sizes_.shape[axis] = count;
    this->facts_.differential = Differential::kAffine;
  }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const auto& [outer, k, inner] = axis_;
    const T* x = io.x[0] + block.rows.begin * outer * k * inner;
    T* y = io.y + block.rows.begin * outer * count_ * inner;
    for (std::int64_t r = 0; r < block.rows.count() * outer; ++r, x += k * inner) {
      for (std::int64_t j = 0; j < count_; ++j, y += inner) std::copy_n(x + (start_ + j * step_) * inner, inner, y);
    }
  }

  void backward(const Io<T>& io, const Block& block, T*) const override {
    const auto& [outer, k, inner] = axis_;
    T* dx = io.dx[0] + block.rows.begin * outer * k * inner;
    const T* dy = io.dy + block.rows.begin * outer * count_ * inner;
    for (std::int64_t r = 0; r < block.rows.count() * outer; ++r, dx += k * inner) {
      if (!io.add[0]) std::fill_n(dx, k * inner, T(0));
      for (std::int64_t j = 0; j < count_; ++j, dy += inner) {
        T* to = dx + (start_ + j * step_) * inner;
        for (std::int64_t i = 0; i < inner; ++i) to[i] = io.add[0] ? to[i] + dy[i] : dy[i];
      }
    }
  }

 private:
  Axis axis_;
  std::int64_t start_, step_, count_;
};

}  // namespace

template <class T> OpPtr<T> make_slice(const Node<T>& node) {
  const std::size_t axis = read_axis(node);
  const Shape& x = node.xs[0];
  const std::int64_t start = node.integer("start"), step = node.integer("step"), count = node.integer("count");
  const auto inside = [&](std::int64_t k) { return k >= 0 && k < x[axis]; };
  // The size of what is cut from an array that fits memory: no product can overflow once count does not exceed it.
  node.expect(count > 0 && count <= x[axis] && step >= -x[axis] && step <= x[axis] && (step != 0 || count == 1) &&
                  inside(start) && inside(start + (count - 1) * step),
              "no such slice of " + to_string(x));
  return std::make_unique<Slice<T>>(x, axis, start, step, count);
}
BP_INSTANTIATE_MAKER(make_slice)

}  // namespace bp
