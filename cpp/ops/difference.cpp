// difference: y = h; backward turns a target of h into one of the value below, by an inverse map at two points.
//
//   b (N, B) below  h, y (N, H)  v (H, B)  c (B);  g(u) = f(s(u) v + c), s the sign or nothing
//   dy = 2 (h - t) / N, of |h - t|^2 as a mean over the N samples, so the target is t = h - N dy / 2
//   dh = dy      db = 2 (g(h) - g(t)) / N, of the target b - g(h) + g(t)
// Difference target propagation (D.-H. Lee et al., 2015). v and c learn elsewhere: they have no gradient here.
// Nothing is kept. Flops a sample: none forward, 4 H B backward.
#include <algorithm>

#include "ops/activation.h"
#include "ops/product.h"

namespace bp {
namespace {

template <class T> class Difference final : public Op<T> {
 public:
  Difference(const Shape& h, const Shape& v, Activation f, T alpha, bool by_sign, Compute compute)
      : size_(size_of(h)), below_(v[1]), f_(static_cast<int>(f)), alpha_(alpha), by_sign_(by_sign),
        product_({size_}, v, true, false, compute) {
    this->sizes_.shape = h;
    this->sizes_.flops = product_.flops();
    this->facts_.compute = product_.compute();
    this->facts_.steepness = 0;
  }
  std::int64_t scratch(std::int64_t rows) const override {
    return align_up<T>(rows * size_) + 2 * align_up<T>(rows * below_) + product_.scratch(rows);
  }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const std::int64_t offset = block.rows.begin * size_;
    std::copy_n(io.x[1] + offset, block.rows.count() * size_, io.y + offset);
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    const std::int64_t offset = block.rows.begin * size_, rows = block.rows.count(), n = rows * size_;
    const T *h = io.x[1] + offset, *dy = io.dy + offset;
    if (T* dh = io.dx[1]; dh != nullptr) {
      io.add[1] ? kernels<T>().axpy(T(1), dy, dh + offset, n) : static_cast<void>(std::copy_n(dy, n, dh + offset));
    }
    if (io.dx[0] == nullptr) return;
    const T samples = io.batch == nullptr ? T(1) : static_cast<T>(io.batch->load(std::memory_order_relaxed));
    T* const point = scratch;
    T* const here = point + align_up<T>(n);
    T* const there = here + align_up<T>(rows * below_);
    T* const rest = there + align_up<T>(rows * below_);
    std::copy_n(h, n, point);
    inverse(io, point, here, rows, rest);
    for (std::int64_t i = 0; i < n; ++i) point[i] = h[i] - samples / 2 * dy[i];
    inverse(io, point, there, rows, rest);
    T* db = io.dx[0] + block.rows.begin * below_;
    const T two = T(2) / samples;
    for (std::int64_t i = 0; i < rows * below_; ++i) {
      const T slope = two * (here[i] - there[i]);
      db[i] = io.add[0] ? db[i] + slope : slope;
    }
  }

  void accumulate(const Io<T>&, int, const Tile& tile, Rows, T* g, bool add, T*) const override {
    if (!add) std::fill_n(g, tile.size(), T(0));
  }

 private:
  // g of some rows; u is written over.
  void inverse(const Io<T>& io, T* u, T* to, std::int64_t rows, T* scratch) const {
    if (by_sign_) kernels<T>().function[static_cast<int>(Function::kSign)](u, u, rows * size_, T(0));
    ProductArrays<T> at{};
    at.x = u, at.x_stride = size_;
    at.w = io.w[0], at.bias = io.w[1];
    at.z = at.y = to;
    product_.forward(at, {0, rows}, {0, below_}, scratch);
    if (f_ != static_cast<int>(Activation::kLinear)) kernels<T>().activate[f_](to, to, rows * below_, alpha_);
  }

  std::int64_t size_, below_;
  int f_;
  T alpha_;
  bool by_sign_;
  Product<T> product_;
};

}  // namespace

template <class T> OpPtr<T> make_difference(const Node<T>& node) {
  node.expect(node.xs.size() == 2 && node.ws.size() == 2, "difference takes two values, a matrix and a bias");
  const Shape &v = node.ws[0], &c = node.ws[1];
  node.expect(
      v == Shape{size_of(node.xs[1]), size_of(node.xs[0])} && c == Shape{v[1]},
      "an inverse of shape " + to_string(v) + " from " + to_string(node.xs[1]) + " to " + to_string(node.xs[0]));
  const Activation f = activation_from_name(node.text("function"));
  const auto alpha = static_cast<T>(node.number("alpha", 0));
  return std::make_unique<Difference<T>>(node.xs[1], v, f, alpha, node.flag("by_sign"), node.compute);
}
BP_INSTANTIATE_MAKER(make_difference)

}  // namespace bp
