// concatenate: y holds the inputs one after the other along one axis.  dx_i is the slice of dy that x_i became.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Concatenate final : public Op<T> {
 public:
  Concatenate(const Shapes& xs, std::size_t axis) {
    Shape shape = xs[0];
    shape[axis] = 0;
    for (const Shape& x : xs) shape[axis] += x[axis];
    outer_ = 1;
    for (std::size_t i = 0; i < axis; ++i) outer_ *= xs[0][i];
    for (const Shape& x : xs) width_.push_back(size_of(x) / std::max<std::int64_t>(outer_, 1));
    total_ = size_of(shape) / std::max<std::int64_t>(outer_, 1);
    this->sizes_.shape = std::move(shape);
    this->facts_.keeps_probabilities = true;
    this->facts_.differential = Differential::kAffine;
  }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const Rows rows = block.rows;
    T* y = io.y + rows.begin * outer_ * total_;
    for (std::size_t i = 0; i < width_.size(); ++i) {
      const T* x = io.x[i] + rows.begin * outer_ * width_[i];
      for (std::int64_t r = 0; r < rows.count() * outer_; ++r)
        std::copy_n(x + r * width_[i], width_[i], y + r * total_);
      y += width_[i];
    }
  }

  void backward(const Io<T>& io, const Block& block, T*) const override {
    const Rows rows = block.rows;
    const T* dy = io.dy + rows.begin * outer_ * total_;
    for (std::size_t i = 0; i < width_.size(); ++i) {
      T* dx = io.dx[i] == nullptr ? nullptr : io.dx[i] + rows.begin * outer_ * width_[i];
      for (std::int64_t r = 0; dx != nullptr && r < rows.count() * outer_; ++r) {
        if (io.add[i]) {
          kernels<T>().axpy(T(1), dy + r * total_, dx + r * width_[i], width_[i]);
        } else {
          std::copy_n(dy + r * total_, width_[i], dx + r * width_[i]);
        }
      }
      dy += width_[i];
    }
  }

 private:
  std::int64_t outer_, total_;
  std::vector<std::int64_t> width_;
};

}  // namespace

template <class T> OpPtr<T> make_concatenate(const Node<T>& node) {
  const Shapes& xs = node.xs;
  node.expect(!xs.empty(), "concatenate needs an input");
  const auto axis = static_cast<std::size_t>(node.integer("axis"));
  node.expect(axis < xs[0].size(), "no axis " + std::to_string(axis) + " in " + to_string(xs[0]));
  for (const Shape& x : xs) {
    Shape like = x;
    if (like.size() == xs[0].size()) like[axis] = xs[0][axis];
    node.expect(like == xs[0], "cannot join " + to_string(xs[0]) + " and " + to_string(x));
  }
  return std::make_unique<Concatenate<T>>(xs, axis);
}
BP_INSTANTIATE_MAKER(make_concatenate)

}  // namespace bp
