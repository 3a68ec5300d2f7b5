// masked_dense: y = x (w * mask) + b over the last axis, mask of 0 and 1: some connections are missing.
//
//   x (N, .., I)  w, mask (I, O)  b (O)  y (N, .., O);  P = product of the axes between
//   dx = dy (w * mask)^T        dw = mask * (x^T dy), db = sum of dy over N and P, over the whole batch
// transposed: w, mask (O, I), those of another layer, as in dense.
// What a missing weight holds counts nowhere: 0 stands in its place, and in the place of its gradient.
// Kept: x. Flops a sample: 2 P I O forward, twice that backward and accumulate; a copy of w for each block of samples.
#include "ops/product.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class MaskedDense final : public Op<T> {
 public:
  MaskedDense(const Shape& x, const Shape& w, bool has_bias, bool transposed, const Array& mask, Compute compute)
      : product_(x, w, has_bias, transposed, compute), weights_(size_of(w)), columns_(w.back()) {
    this->sizes_.shape = x;
    this->sizes_.shape.back() = product_.out();
    this->sizes_.flops = product_.flops();
    this->facts_.compute = product_.compute();
    this->sizes_.together = 64;  // beside a copy of all weights
    this->facts_.steepness = 1;
    for (double m : mask.values) mask_.push_back(m != 0);
  }

  std::int64_t scratch(std::int64_t rows) const override { return align_up<T>(weights_) + product_.scratch(rows); }

  void forward(const Io<T>& io, const Block& block, T* scratch) const override {
    ProductArrays<T> at = product_.arrays(io);
    at.w = masked(at.w, scratch);
    product_.forward(at, block.rows, {0, product_.out()}, scratch + align_up<T>(weights_));
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    ProductArrays<T> at = product_.arrays(io);
    if (at.dx == nullptr) return;
    at.w_back = masked(at.w_back, scratch);
    product_.backward(at, block.rows, {0, product_.in()}, scratch + align_up<T>(weights_));
  }

  std::int64_t accumulate_scratch(int, const Tile& tile, std::int64_t rows) const override {
    return align_up<T>(tile.size()) + product_.gradient_scratch(tile, rows);
  }

  void accumulate(const Io<T>& io, int param, const Tile& tile, Rows rows, T* g, bool add, T* scratch) const override {
    const ProductArrays<T> at = product_.arrays(io);
    if (param == Product<T>::kBias) return product_.bias_gradient(at, rows, tile.columns, g, add, scratch);
    product_.gradient(at, rows, tile, scratch, false, scratch + align_up<T>(tile.size()));
    for (std::int64_t i = tile.rows.begin; i < tile.rows.end; ++i) {
      const char* mask = mask_.data() + i * columns_ + tile.columns.begin;
      for (std::int64_t o = 0; o < tile.columns.count(); ++o, ++g, ++scratch) {
        const T own = mask[o] ? *scratch : T(0);
        *g = add ? *g + own : own;
      }
    }
  }

 private:
  const T* masked(const T* w, T* to) const {
    for (std::int64_t i = 0; i < weights_; ++i) to[i] = mask_[static_cast<std::size_t>(i)] ? w[i] : T(0);
    return to;
  }

  Product<T> product_;
  std::int64_t weights_, columns_;  // of the kernel as it lies
  std::vector<char> mask_;
};

}  // namespace

template <class T> OpPtr<T> make_masked_dense(const Node<T>& node) {
  const Shapes &xs = node.xs, &ws = node.ws;
  node.expect(xs.size() == 1 && !xs[0].empty(), "masked_dense takes one input of rank 1 or more per sample");
  node.expect(ws.size() == 1 || ws.size() == 2, "masked_dense takes a kernel and perhaps a bias");
  const bool transposed = node.flag("transposed");
  node.expect(ws[0].size() == 2 && ws[0][transposed ? 1 : 0] == xs[0].back(),
              "got x of shape " + to_string(xs[0]) + " a sample and a kernel of shape " + to_string(ws[0]));
  node.expect(ws.size() == 1 || ws[1] == Shape{ws[0][transposed ? 0 : 1]}, "the bias does not fit the kernel");
  const Array& mask = node.array("mask");
  node.expect(mask.shape == ws[0], "the mask does not fit the kernel");
  return std::make_unique<MaskedDense<T>>(xs[0], ws[0], ws.size() == 2, transposed, mask, node.compute);
}
BP_INSTANTIATE_MAKER(make_masked_dense)

}  // namespace bp
