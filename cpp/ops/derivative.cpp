// derivative: what backward of another operation would give, as a value: dx = (dy/dx)^T dy.
//
//   inputs: x_1 .. x_K of the other operation, its y, and dy like y;  params: its own;  y' like x_which
// The other operation is made by its name, `of`, and its attributes. No gradient goes back through a derivative.
// Kept: nothing. What the other operation saves for its backward, or keeps of the batch, is found once more, in
// scratch; so it must not draw random numbers. Flops a sample: twice those of the operation's forward, at most.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Derivative final : public Op<T> {
 public:
  Derivative(OpPtr<T> of, const Shapes& xs, std::size_t which) : of_(std::move(of)), which_(which) {
    for (const Shape& x : xs) sizes_of_.push_back(size_of(x));
    const Sizes& sizes = of_->sizes();
    this->sizes_.shape = xs[which];
    this->sizes_.features = sizes.features;
    this->sizes_.flops = (sizes.saved > 0 || sizes.kept > 0 ? 2 : 1) * sizes.flops;
    this->facts_.partition = of_->facts().partition;
    this->facts_.rows_in_use = of_->facts().rows_in_use;
    this->facts_.stops = true;
    this->facts_.steepness = 1;  // its parameters get no gradient from it
  }

  std::int64_t scratch(std::int64_t rows) const override {
    const Sizes& sizes = of_->sizes();
    return 2 * align_up<T>(checked_mul(rows, size_of(sizes.shape))) + align_up<T>(checked_mul(rows, sizes.saved)) +
           align_up<T>(sizes.kept) + of_->scratch(rows);
  }

  // The arrays of the operation, from this block's first sample on: what it needs room for is as long as the block.
  void forward(const Io<T>& io, const Block& block, T* scratch) const override {
    const Sizes& sizes = of_->sizes();
    const std::int64_t begin = block.rows.begin, n = block.rows.count(), size = size_of(sizes.shape);
    const auto take = [&](std::int64_t count) {
      T* const at = scratch;
      scratch += align_up<T>(count);
      return at;
    };
    Io<T> inner;
    inner.training = io.training;
    inner.w = inner.w_back = io.w;
    inner.batch = io.batch;
    const std::size_t k = sizes_of_.size();
    for (std::size_t i = 0; i < k; ++i) inner.x.push_back(io.x[i] + begin * sizes_of_[i]);
    inner.dy = take(n * size);
    T* const again = take(n * size);
    inner.saved = take(n * sizes.saved);
    inner.kept = take(sizes.kept);
    const Block from{{0, n}, block.columns};
    if (sizes.saved > 0 || sizes.kept > 0) {
      inner.y = again;
      of_->forward(inner, from, scratch);
    } else {
      inner.y = const_cast<T*>(io.x[k]) + begin * size;  // backward does not write to it
    }
    std::copy_n(io.x[k + 1] + begin * size, n * size, inner.dy);
    inner.dx.assign(k, nullptr);
    inner.add.assign(k, 0);
    inner.dx[which_] = io.y + begin * sizes_of_[which_];
    of_->backward(inner, from, scratch);
  }
  void backward(const Io<T>&, const Block&, T*) const override {}

 private:
  OpPtr<T> of_;
  std::size_t which_;
  std::vector<std::int64_t> sizes_of_;
};

}  // namespace

template <class T> OpPtr<T> make_derivative(const Node<T>& node) {
  const auto which = static_cast<std::size_t>(node.integer("which"));
  node.expect(node.xs.size() >= 3 && which + 2 < node.xs.size(), "takes an operation's inputs, its value and dy");
  const Shapes xs(node.xs.begin(), node.xs.end() - 2);
  OpPtr<T> of = node.other("of", xs);
  node.expect(node.xs[xs.size()] == of->sizes().shape && node.xs.back() == of->sizes().shape,
              "its value and dy must have the shape " + to_string(of->sizes().shape));
  node.expect(!of->facts().draws && of->sizes().carried == 0 && of->facts().role == Role::kComputes,
              "has no derivative as a value: it draws random numbers, or carries a state from batch to batch");
  return std::make_unique<Derivative<T>>(std::move(of), xs, which);
}
BP_INSTANTIATE_MAKER(make_derivative)

}  // namespace bp
