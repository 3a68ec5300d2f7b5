// exchange: the first axes of a sample and the others change places, as channels do that come before or after
// positions.
//
//   x (N, A, B)  y (N, B, A);  A, B = products of the first `split` axes and of the others
//   y[b, a] = x[a, b]          dx[a, b] = dy[b, a]          Cost: a copy.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Exchange final : public Op<T> {
 public:
  Exchange(const Shape& x, std::int64_t split)
      : first_(size_of({x.begin(), x.begin() + split})), second_(size_of({x.begin() + split, x.end()})) {
    this->sizes_.shape = x;
    std::rotate(this->sizes_.shape.begin(), this->sizes_.shape.begin() + split, this->sizes_.shape.end());
    this->facts_.differential = Differential::kAffine;
  }
  std::int64_t scratch(std::int64_t) const override { return first_ * second_; }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    for (std::int64_t i = block.rows.begin; i < block.rows.end; ++i) {
      const std::int64_t offset = i * first_ * second_;
      kernels<T>().transpose(io.x[0] + offset, second_, io.y + offset, first_, first_, second_);
    }
  }
  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    if (io.dx[0] == nullptr) return;
    for (std::int64_t i = block.rows.begin; i < block.rows.end; ++i) {
      const std::int64_t offset = i * first_ * second_;
      T* const dx = io.dx[0] + offset;
      kernels<T>().transpose(io.dy + offset, first_, io.add[0] ? scratch : dx, second_, second_, first_);
      if (io.add[0]) kernels<T>().axpy(T(1), scratch, dx, first_ * second_);
    }
  }

 private:
  std::int64_t first_, second_;
};

}  // namespace

template <class T> OpPtr<T> make_exchange(const Node<T>& node) {
  node.expect(node.xs.size() == 1, "exchange takes one input");
  const std::int64_t split = node.integer("split");
  node.expect(split >= 0 && split <= static_cast<std::int64_t>(node.xs[0].size()), "there are fewer axes");
  return std::make_unique<Exchange<T>>(node.xs[0], split);
}
BP_INSTANTIATE_MAKER(make_exchange)

}  // namespace bp
