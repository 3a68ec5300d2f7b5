// dense: y = f(x w + b) over the last axis.
//
//   x (N, .., I)  w (I, O)  b (O)  z = x w + b  y = f(z) (N, .., O);  P = product of the axes between
//   delta = dy * f'(z)          written over dy
//   dx = delta w^T              dw = x^T delta, db = sum of delta over N and P, over the whole batch
// transposed: w (O, I), the weights of another layer: w^T in place of w, and dw = delta^T x.
// Kept: y, and z where f' needs it. Flops a sample: 2 P I O forward, twice that backward and accumulate.
#include "ops/dense.h"

#include "ops/product.h"

namespace bp {
namespace {

template <class T> class Dense final : public Op<T> {
 public:
  Dense(const Shape& x, const Shape& w, bool has_bias, bool transposed, Compute compute)
      : product_(x, w, has_bias, transposed, compute) {
    this->sizes_.shape = x;
    this->sizes_.shape.back() = product_.out();
    this->sizes_.flops = product_.flops();
    this->facts_.compute = product_.compute();
    this->facts_.differential = Differential::kAffine;
    this->facts_.steepness = 1;
  }

  std::int64_t scratch(std::int64_t rows) const override { return product_.scratch(rows); }

  void forward(const Io<T>& io, const Block& block, T* scratch) const override {
    product_.forward(product_.arrays(io), block.rows, {0, product_.out()}, scratch);
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    const ProductArrays<T> at = product_.arrays(io);
    product_.find_delta(at, block.rows);
    product_.backward(at, block.rows, {0, product_.in()}, scratch);
  }

  std::int64_t accumulate_scratch(int, const Tile& tile, std::int64_t rows) const override {
    return product_.gradient_scratch(tile, rows);
  }

  void accumulate(const Io<T>& io, int param, const Tile& tile, Rows rows, T* g, bool add, T* scratch) const override {
    const ProductArrays<T> at = product_.arrays(io);
    if (param == Product<T>::kBias) return product_.bias_gradient(at, rows, tile.columns, g, add, scratch);
    product_.gradient(at, rows, tile, g, add, scratch);
  }

  bool fuse(const Op<T>& next) override {
    const Facts& facts = next.facts();
    if (facts.pointwise == Activation::kCount || !product_.fuse(facts.pointwise, static_cast<T>(facts.alpha)))
      return false;
    this->sizes_.saved = product_.saved_size();
    this->facts_.differential = Differential::kNone;  // no longer affine
    return true;
  }

  const Product<T>* as_product() const override { return &product_; }

 private:
  Product<T> product_;
};

}  // namespace

template <class T> OpPtr<T> dense_op(const Shape& x, const Shape& w, bool has_bias, bool transposed, Compute compute) {
  return std::make_unique<Dense<T>>(x, w, has_bias, transposed, compute);
}
template OpPtr<float> dense_op(const Shape&, const Shape&, bool, bool, Compute);
template OpPtr<double> dense_op(const Shape&, const Shape&, bool, bool, Compute);

template <class T> OpPtr<T> make_dense(const Node<T>& node) {
  const Shapes &xs = node.xs, &ws = node.ws;
  node.expect(xs.size() == 1 && !xs[0].empty(), "dense takes one input of rank 1 or more per sample");
  node.expect(ws.size() == 1 || ws.size() == 2, "dense takes a kernel and perhaps a bias");
  const bool transposed = node.flag("transposed");
  node.expect(ws[0].size() == 2 && ws[0][transposed ? 1 : 0] == xs[0].back(),
              "got x of shape " + to_string(xs[0]) + " a sample and a kernel of shape " + to_string(ws[0]));
  node.expect(ws.size() == 1 || ws[1] == Shape{ws[0][transposed ? 0 : 1]}, "the bias does not fit the kernel");
  return dense_op<T>(xs[0], ws[0], ws.size() == 2, transposed, node.compute);
}
BP_INSTANTIATE_MAKER(make_dense)

}  // namespace bp
