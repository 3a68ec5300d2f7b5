// dense: y = f(x w + b) over the last axis.
//
//   x (N, .., I)  w (I, O)  b (O)  z = x w + b  y = f(z) (N, .., O);  P = product of the axes between
//   delta = dy * f'(z)          written over dy
//   dx = delta w^T              dw = x^T delta, db = sum of delta over N and P, over the whole batch
// transposed: w (O, I), the weights of another layer: w^T in place of w, and dw = delta^T x.
// Kept: y, and z where f' needs it. Flops a sample: 2 P I O forward, twice that backward and accumulate.
#include "ops/makers.h"

#include <algorithm>
#include <array>

#include "ops/team_matmul.h"

namespace bp {
namespace {

constexpr std::int64_t kManyRows = 4096;  // to here every number of rows is asked for its scratch, then one of so many
constexpr std::int64_t kRowStep = 16;

template <class T> class Dense final : public Op<T> {
 public:
  Dense(const Shape& x, const Shape& w, bool has_bias, bool transposed, Compute compute)
      : in_(w[transposed ? 1 : 0]), out_(w[transposed ? 0 : 1]), ldw_(w[1]), has_bias_(has_bias), transposed_(transposed),
        compute_(compute) {
    this->shape = x;
    this->shape.back() = out_;
    inner_ = size_of(x) / in_;
  }

  std::int64_t saved_size() const override { return keeps_z() ? inner_ * out_ : 0; }
  std::int64_t flops() const override { return 2 * inner_ * in_ * out_; }

  std::int64_t scratch_size(std::int64_t rows) const override {
    std::int64_t most = 0;
    for (std::int64_t m = 1; m <= rows; ++m) {
      most = std::max(most, products().scratch(forward_product(m * inner_)));
      for (const Matmul<T>& product : backward_products(m * inner_)) most = std::max(most, products().scratch(product));
    }
    return most;
  }

  void forward(const Io<T>& io, Rows rows, T* scratch) const override { forward_columns(io, rows, {0, out_}, scratch); }

  void backward(const Io<T>& io, Rows rows, T* scratch) const override {
    prepare_backward(io, rows);
    backward_columns(io, rows, {0, in_}, scratch);
  }

  Partition partition(bool) const override {
    return columns_pay(in_, out_) ? Partition::kColumns : Partition::kRows;
  }
  std::int64_t columns_forward() const override { return out_; }
  std::int64_t columns_backward() const override { return in_; }
  // Any number of rows up to this and any share of the columns may come, and both change how a product is done. A share is
  // whole steps, but for the last one.
  std::int64_t columns_scratch(std::int64_t rows) const override {
    std::int64_t most = 0;
    const auto ask = [&](Matmul<T> product, std::int64_t all) {
      const std::int64_t missing = (kColumnStep - all % kColumnStep) % kColumnStep;
      for (std::int64_t share = kColumnStep; share < all + kColumnStep; share += kColumnStep) {
        for (std::int64_t n : {std::min(share, all), share - missing}) {
          product.n = n;
          most = std::max(most, products().scratch(product));
        }
      }
    };
    const auto ask_rows = [&](std::int64_t m) {
      ask(forward_product(m * inner_), out_);
      for (const Matmul<T>& product : backward_products(m * inner_)) ask(product, in_);
    };
    for (std::int64_t m = 1; m < rows; m += m < kManyRows ? 1 : kRowStep) ask_rows(m);
    ask_rows(rows);
    return most;
  }

  void forward_columns(const Io<T>& io, Rows rows, Rows columns, T* scratch) const override {
    const std::int64_t m = rows.count() * inner_, offset = rows.begin * inner_ * out_ + columns.begin;
    T* y = io.y + offset;
    T* z = keeps_z() && io.saved != nullptr ? io.saved + offset : y;
    Matmul<T> product = forward_product(m);
    product.n = columns.count();
    product.a = io.x[0] + rows.begin * inner_ * in_;
    product.b = io.w[0] + columns.begin * (transposed_ ? ldw_ : 1);
    product.bias = has_bias_ ? io.w[1] + columns.begin : nullptr;
    product.c = z;
    product.scratch = scratch;
    products().run(product);
    if (function_ == Activation::kLinear) return;
    const auto activate = kernels<T>().activate[static_cast<int>(function_)];
    if (columns.count() == out_) return activate(z, y, m * out_, alpha_);
    for (std::int64_t i = 0; i < m; ++i) activate(z + i * out_, y + i * out_, columns.count(), alpha_);
  }

  std::int64_t depth() const override { return inner_ == 1 && !transposed_ ? in_ : 0; }
  std::int64_t depth_scratch(std::int64_t rows, Rows depth) const override {
    std::int64_t most = 0;
    for (std::int64_t m = 1; m <= rows; ++m) most = std::max(most, products().scratch(depth_product(m, depth)));
    return most;
  }
  void forward_depth(const Io<T>& io, Rows rows, Rows depth, const Runs& soon, T* scratch) const override {
    const std::int64_t offset = rows.begin * out_;
    T* y = io.y + offset;
    T* z = keeps_z() ? io.saved + offset : y;
    Matmul<T> product = depth_product(rows.count(), depth);
    product.lda = stride_of(io);
    product.a = io.x[0] + rows.begin * product.lda + depth.begin;
    product.b = io.w[0] + depth.begin * ldw_;
    product.soon = soon;
    product.bias = depth.begin == 0 && has_bias_ ? io.w[1] : nullptr;
    product.c = z;
    product.scratch = scratch;
    products().run(product);
    if (depth.end < in_ || function_ == Activation::kLinear) return;
    kernels<T>().activate[static_cast<int>(function_)](z, y, rows.count() * out_, alpha_);
  }

  void prepare_backward(const Io<T>& io, Rows rows) const override {
    if (function_ == Activation::kLinear) return;
    const std::int64_t m = rows.count() * inner_, offset = rows.begin * inner_ * out_;
    const T* kept = (keeps_z() ? io.saved : io.y) + offset;
    T* delta = io.dy + offset;
    kernels<T>().activate_back[static_cast<int>(function_)](kept, delta, delta, m * out_, alpha_);
  }

  void backward_columns(const Io<T>& io, Rows rows, Rows columns, T* scratch) const override {
    if (io.dx[0] == nullptr) return;
    Matmul<T> product = backward_product(rows.count() * inner_);
    product.n = columns.count();
    product.a = io.dy + rows.begin * inner_ * out_;
    product.b = io.w[0] + columns.begin * (transposed_ ? 1 : ldw_);
    product.c = io.dx[0] + rows.begin * inner_ * in_ + columns.begin;
    product.add = io.add[0];
    product.scratch = scratch;
    products().run(product);
  }

  std::int64_t accumulate_scratch(int param, const Tile& tile, std::int64_t batch) const override {
    if (param != 0) return 0;
    Matmul<T> product = kernel_gradient(tile, batch);
    product.add = true;  // a shared layer, or gradients of earlier batches: needs more than without
    return products().scratch(product);
  }

  void accumulate(const Io<T>& io, int param, const Tile& tile, std::int64_t batch, T* g, bool add,
                  T* scratch) const override {
    if (param == 1) {
      kernels<T>().column_sum(io.dy + tile.rows.begin, out_, g, batch * inner_, tile.rows.count(), kBatchChunk, add);
      return;
    }
    Matmul<T> product = kernel_gradient(tile, batch);
    if (!transposed_) product.lda = stride_of(io);
    product.a = (transposed_ ? io.dy : io.x[0]) + tile.rows.begin;
    product.b = (transposed_ ? io.x[0] : io.dy) + tile.columns.begin;
    product.c = g;
    product.add = add;
    product.scratch = scratch;
    products().run(product);
  }

  std::int64_t descends(int param) const override { return param == 0 ? kBatchChunk / inner_ : 0; }
  std::int64_t descend_scratch(int, const Tile& tile, std::int64_t batch) const override {
    return products().scratch(descent(tile, batch, T(1)));
  }
  void descend(const Io<T>& io, int, const Tile& tile, std::int64_t batch, T rate, T* w, T* scratch) const override {
    if (rate == 0) return;
    Matmul<T> product = descent(tile, batch, rate);
    if (!transposed_) product.lda = stride_of(io);
    product.a = (transposed_ ? io.dy : io.x[0]) + tile.rows.begin;
    product.b = (transposed_ ? io.x[0] : io.dy) + tile.columns.begin;
    product.c = w;
    product.scratch = scratch;
    products().run(product);
  }

  bool fuse_activation(Activation f, T alpha) override {
    if (function_ != Activation::kLinear) return false;
    function_ = f;
    alpha_ = alpha;
    return true;
  }

 private:
  const Products<T>& products() const { return kernels<T>().products[static_cast<int>(compute_)]; }
  std::int64_t stride_of(const Io<T>& io) const { return io.x_stride == 0 ? in_ : io.x_stride; }
  bool keeps_z() const { return function_ != Activation::kLinear && activation_keeps_z(function_); }

  Matmul<T> forward_product(std::int64_t m) const {
    Matmul<T> p{};
    p.m = m, p.n = out_, p.k = in_;
    p.lda = in_, p.ldb = ldw_, p.ldc = out_;
    p.b_transposed = transposed_;
    return p;
  }
  Matmul<T> depth_product(std::int64_t m, Rows depth) const {
    Matmul<T> p = forward_product(m);
    p.k = depth.count();
    p.goes_on = depth.begin > 0;
    return p;
  }
  Matmul<T> backward_product(std::int64_t m) const {
    Matmul<T> p{};
    p.m = m, p.n = in_, p.k = out_;
    p.lda = out_, p.ldb = ldw_, p.ldc = in_;
    p.b_transposed = !transposed_;
    return p;
  }
  // Which of the two needs more memory depends on the shape.
  std::array<Matmul<T>, 2> backward_products(std::int64_t m) const {
    std::array<Matmul<T>, 2> both{backward_product(m), backward_product(m)};
    both[1].add = true;
    return both;
  }
  Matmul<T> kernel_gradient(const Tile& tile, std::int64_t batch) const {
    Matmul<T> p{};
    p.m = tile.rows.count(), p.n = tile.columns.count(), p.k = batch * inner_;
    p.lda = transposed_ ? out_ : in_, p.ldb = transposed_ ? in_ : out_, p.ldc = tile.columns.count();
    p.a_transposed = true;
    p.chunk = kBatchChunk;
    return p;
  }

  Matmul<T> descent(const Tile& tile, std::int64_t batch, T rate) const {
    Matmul<T> p = kernel_gradient(tile, batch);
    p.ldc = ldw_, p.add = true, p.rate = rate;
    return p;
  }

  std::int64_t in_, out_, inner_, ldw_;
  bool has_bias_, transposed_;
  Compute compute_;
  Activation function_ = Activation::kLinear;
  T alpha_ = 0;
};

}  // namespace

template <class T> OpPtr<T> make_dense(const NodeSpec<T>& spec, const Shapes& xs, const Shapes& ws) {
  check(xs.size() == 1 && !xs[0].empty(), spec.name + ": dense takes one input of rank 1 or more per sample");
  check(ws.size() == 1 || ws.size() == 2, spec.name + ": dense takes a kernel and perhaps a bias");
  const bool transposed = spec.mode == "transposed";
  check(ws[0].size() == 2 && ws[0][transposed ? 1 : 0] == xs[0].back(),
        spec.name + ": got x of shape " + to_string(xs[0]) + " a sample and a kernel of shape " + to_string(ws[0]));
  check(ws.size() == 1 || ws[1] == Shape{ws[0][transposed ? 0 : 1]}, spec.name + ": the bias does not fit the kernel");
  return std::make_unique<Dense<T>>(xs[0], ws[0], ws.size() == 2, transposed, spec.compute);
}
BP_INSTANTIATE_MAKER(make_dense)

}  // namespace bp
