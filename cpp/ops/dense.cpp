// dense: y = f(x w + b) over the last axis.
//
//   x (N, .., I)  w (I, O)  b (O)  z = x w + b  y = f(z) (N, .., O);  P = product of the axes between
//   delta = dy * f'(z)          written over dy
//   dx = delta w^T              dw = x^T delta, db = sum of delta over N and P, over the whole batch
// Kept: y, and z where f' needs it. Flops a sample: 2 P I O forward, twice that backward and accumulate.
#include "ops/makers.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Dense final : public Op<T> {
 public:
  Dense(const Shape& x, const Shape& w, bool has_bias) : in_(w[0]), out_(w[1]), has_bias_(has_bias) {
    this->shape = x;
    this->shape.back() = out_;
    inner_ = size_of(x) / in_;
  }

  std::int64_t saved_size() const override { return keeps_z() ? inner_ * out_ : 0; }
  std::int64_t flops() const override { return 2 * inner_ * in_ * out_; }

  std::int64_t scratch_size(std::int64_t rows) const override {
    std::int64_t most = 0;
    for (std::int64_t m = 1; m <= rows; ++m) {
      Matmul<T> product = forward_product(m * inner_);
      most = std::max(most, kernels<T>().matmul_scratch(product));
      product = backward_product(m * inner_);
      most = std::max(most, kernels<T>().matmul_scratch(product));
    }
    return most;
  }

  void forward(const Io<T>& io, Rows rows, T* scratch) const override {
    const std::int64_t m = rows.count() * inner_;
    T* y = io.y + rows.begin * inner_ * out_;
    T* z = keeps_z() && io.saved != nullptr ? io.saved + rows.begin * inner_ * out_ : y;
    Matmul<T> product = forward_product(m);
    product.a = io.x[0] + rows.begin * inner_ * in_;
    product.b = io.w[0];
    product.bias = has_bias_ ? io.w[1] : nullptr;
    product.c = z;
    product.scratch = scratch;
    kernels<T>().matmul(product);
    if (function_ != Activation::kLinear) {
      kernels<T>().activate[static_cast<int>(function_)](z, y, m * out_, alpha_);
    }
  }

  void backward(const Io<T>& io, Rows rows, T* scratch) const override {
    const std::int64_t m = rows.count() * inner_, offset = rows.begin * inner_ * out_;
    T* delta = io.dy + offset;
    if (function_ != Activation::kLinear) {
      const T* kept = (keeps_z() ? io.saved : io.y) + offset;
      kernels<T>().activate_back[static_cast<int>(function_)](kept, delta, delta, m * out_, alpha_);
    }
    if (io.dx[0] == nullptr) return;
    Matmul<T> product = backward_product(m);
    product.a = delta;
    product.b = io.w[0];
    product.c = io.dx[0] + rows.begin * inner_ * in_;
    product.add = io.add[0];
    product.scratch = scratch;
    kernels<T>().matmul(product);
  }

  std::int64_t accumulate_scratch(int param, std::int64_t tile_rows, std::int64_t batch) const override {
    return param == 0 ? kernels<T>().matmul_scratch(kernel_gradient({0, tile_rows}, batch)) : 0;
  }

  void accumulate(const Io<T>& io, int param, Rows tile, std::int64_t batch, T* g, bool add, T* scratch) const override {
    if (param == 1) {
      kernels<T>().column_sum(io.dy + tile.begin, out_, g, batch * inner_, tile.count(), kBatchChunk, add);
      return;
    }
    Matmul<T> product = kernel_gradient(tile, batch);
    product.a = io.x[0] + tile.begin;
    product.b = io.dy;
    product.c = g;
    product.add = add;
    product.scratch = scratch;
    kernels<T>().matmul(product);
  }

  bool fuse_activation(Activation f, T alpha) override {
    if (function_ != Activation::kLinear) return false;
    function_ = f;
    alpha_ = alpha;
    return true;
  }

 private:
  bool keeps_z() const { return function_ != Activation::kLinear && activation_keeps_z(function_); }

  Matmul<T> forward_product(std::int64_t m) const {
    Matmul<T> p{};
    p.m = m, p.n = out_, p.k = in_;
    p.lda = in_, p.ldb = out_, p.ldc = out_;
    return p;
  }
  Matmul<T> backward_product(std::int64_t m) const {
    Matmul<T> p{};
    p.m = m, p.n = in_, p.k = out_;
    p.lda = out_, p.ldb = out_, p.ldc = in_;
    p.b_transposed = true;
    return p;
  }
  Matmul<T> kernel_gradient(Rows tile, std::int64_t batch) const {
    Matmul<T> p{};
    p.m = tile.count(), p.n = out_, p.k = batch * inner_;
    p.lda = in_, p.ldb = out_, p.ldc = out_;
    p.a_transposed = true;
    p.chunk = kBatchChunk;
    return p;
  }

  std::int64_t in_, out_, inner_;
  bool has_bias_;
  Activation function_ = Activation::kLinear;
  T alpha_ = 0;
};

}  // namespace

template <class T> OpPtr<T> make_dense(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws) {
  check(xs.size() == 1 && !xs[0].empty(), spec.name + ": dense takes one input of rank 1 or more per sample");
  check(ws.size() == 1 || ws.size() == 2, spec.name + ": dense takes a kernel and perhaps a bias");
  check(ws[0].size() == 2 && ws[0][0] == xs[0].back(),
        spec.name + ": got x of shape " + to_string(xs[0]) + " a sample and a kernel of shape " + to_string(ws[0]));
  check(ws.size() == 1 || ws[1] == Shape{ws[0][1]}, spec.name + ": the bias does not fit the kernel");
  return std::make_unique<Dense<T>>(xs[0], ws[0], ws.size() == 2);
}
BP_INSTANTIATE_MAKER(make_dense)

}  // namespace bp
