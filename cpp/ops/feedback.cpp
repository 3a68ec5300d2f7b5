// feedback: y = z, and the gradient of y goes to h, too, through a fixed matrix.
//
//   z (N, .., ) of O values  h (N, ..) of H values  b (H, O)
//   dz = dy      dh = dy b^T
// Direct feedback alignment (A. Nokland, 2016): h is any hidden value, y what the loss reads. b is not trained.
// Flops a sample: none forward, 2 H O backward.
#include "ops/product.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Feedback final : public Op<T> {
 public:
  Feedback(const Shape& z, const Shape& h, const Shape& b, Compute compute)
      : outputs_(size_of(z)), product_({size_of(h)}, b, false, false, compute) {
    this->sizes_.shape = z;
    this->sizes_.flops = product_.flops() / 2;  // of forward and backward, as others have both
    this->facts_.compute = product_.compute();
    this->facts_.keeps_probabilities = true;
  }
  std::int64_t scratch(std::int64_t rows) const override { return product_.scratch(rows); }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const std::int64_t offset = block.rows.begin * outputs_;
    std::copy_n(io.x[0] + offset, block.rows.count() * outputs_, io.y + offset);
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    const std::int64_t offset = block.rows.begin * outputs_, n = block.rows.count() * outputs_;
    if (T* dz = io.dx[0]; dz != nullptr) {
      io.add[0] ? kernels<T>().axpy(T(1), io.dy + offset, dz + offset, n)
                : static_cast<void>(std::copy_n(io.dy + offset, n, dz + offset));
    }
    ProductArrays<T> at{};
    at.w_back = io.w_back[0];
    at.delta = io.dy;
    at.dx = io.dx[1];
    at.add_dx = io.add[1] != 0;
    product_.backward(at, block.rows, {0, product_.in()}, scratch);
  }

 private:
  std::int64_t outputs_;
  Product<T> product_;
};

}  // namespace

template <class T> OpPtr<T> make_feedback(const Node<T>& node) {
  node.expect(node.xs.size() == 2 && node.ws.size() == 1, "feedback takes two inputs and a matrix");
  const Shape &z = node.xs[0], &h = node.xs[1], &b = node.ws[0];
  node.expect(b == Shape{size_of(h), size_of(z)},
              "feedback of shape " + to_string(b) + " from " + to_string(z) + " to " + to_string(h));
  return std::make_unique<Feedback<T>>(z, h, b, node.compute);
}
BP_INSTANTIATE_MAKER(make_feedback)

}  // namespace bp
