// dot: y[p, q] = sum over k of a[p, k] b[q, k], of each sample alone: products along one axis of two tensors (Keras'
// Dot).
//
//   a (N, .., K, ..)  b (N, .., K, ..);  P, Q = products of the other axes of a, of b
//   y (N, other axes of a, other axes of b), or (N, 1) where there are none
//   da[p, k] = sum over q of dy[p, q] b[q, k]          db[q, k] = sum over p of dy[p, q] a[p, k]
//   normalized: u = a / max(|a|, 1e-7), |a|^2 = sum over k of a[p, k]^2, stands in place of a, and the same of b;
//     da = (du - u (u . du)) / |a|, or du / 1e-7 where |a| is not larger than 1e-7
// Kept: a, b. Flops a sample: 2 P Q K forward, twice that backward.
#include "ops/axis.h"

#include <algorithm>
#include <cmath>

namespace bp {
namespace {

constexpr double kLeastNorm = 1e-7;  // Keras' epsilon

template <class T> class Dot final : public Op<T> {
 public:
  Dot(Shape shape, const Axis& a, const Axis& b, bool normalized) : in_{a, b}, normalized_(normalized) {
    this->sizes_.shape = std::move(shape);
    this->sizes_.flops = 2 * a.rows() * b.size();
  }

  std::int64_t scratch(std::int64_t) const override {
    std::int64_t most = products().scratch(forward_product());
    for (int side = 0; side < 2; ++side) {
      for (bool add : {false, true}) most = std::max(most, products().scratch(backward_product(side, add)));
    }
    return Parts(*this, nullptr).size() + most;
  }

  void forward(const Io<T>& io, const Block& block, T* scratch) const override {
    const Parts at(*this, scratch);
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      Matmul<T> p = forward_product();
      p.a = rows(io, 0, r, at), p.b = rows(io, 1, r, at);
      p.c = io.y + r * p.m * p.n;
      run(p, at);
    }
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    const Parts at(*this, scratch);
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      const T* const u[2] = {rows(io, 0, r, at), rows(io, 1, r, at)};
      for (int side = 0; side < 2; ++side) {
        if (io.dx[side] == nullptr) continue;
        T* dx = io.dx[side] + r * in_[side].size();
        Matmul<T> p = backward_product(side, direct(side) && io.add[side]);
        p.a = io.dy + r * in_[0].rows() * in_[1].rows(), p.b = u[1 - side];
        p.c = direct(side) ? dx : at.du;
        run(p, at);
        if (direct(side)) continue;
        if (normalized_) through_norms(side, u[side], at.inverse[side], at.du);
        scatter(side, at.du, dx, io.add[side]);
      }
    }
  }

 private:
  // Of the scratch.
  struct Parts {
    Parts(const Dot& op, T* scratch) {
      const auto take = [&](std::int64_t n) {
        T* part = next;
        next = scratch == nullptr ? nullptr : next + align_up<T>(n);
        total += align_up<T>(n);
        return part;
      };
      next = scratch;
      for (int side = 0; side < 2; ++side) {
        rows[side] = take(op.direct(side) ? 0 : op.in_[side].size());
        inverse[side] = take(op.normalized_ ? op.in_[side].rows() : 0);
      }
      du = take(std::max(op.direct(0) ? 0 : op.in_[0].size(), op.direct(1) ? 0 : op.in_[1].size()));
    }
    std::int64_t size() const { return total; }
    T *rows[2], *inverse[2], *du, *next;  // next: the products' own
    std::int64_t total = 0;
  };

  bool direct(int side) const { return in_[side].inner == 1 && !normalized_; }
  const Products<T>& products() const { return kernels<T>().products[static_cast<int>(Compute::kFull)]; }
  void run(Matmul<T>& p, const Parts& at) const {
    p.scratch = at.next;
    products().run(p);
  }

  Matmul<T> forward_product() const {
    Matmul<T> p{};
    p.m = in_[0].rows(), p.n = in_[1].rows(), p.k = in_[0].k;
    p.lda = p.ldb = p.k, p.b_transposed = true;
    p.ldc = p.n;
    return p;
  }
  Matmul<T> backward_product(int side, bool add) const {
    Matmul<T> p{};
    p.m = in_[side].rows(), p.n = in_[side].k, p.k = in_[1 - side].rows();
    p.lda = in_[1].rows(), p.a_transposed = side == 1;
    p.ldb = p.ldc = p.n;
    p.add = add;
    return p;
  }

  // The rows of an operand of sample r, normalized where that is wanted.
  const T* rows(const Io<T>& io, int side, std::int64_t r, const Parts& at) const {
    const Axis& in = in_[side];
    const T* x = io.x[static_cast<std::size_t>(side)] + r * in.size();
    if (direct(side)) return x;
    T* u = at.rows[side];
    for (std::int64_t o = 0; o < in.outer; ++o) {
      const std::int64_t offset = o * in.k * in.inner;
      kernels<T>().transpose(x + offset, in.inner, u + offset, in.k, in.k, in.inner);
    }
    for (std::int64_t i = 0; normalized_ && i < in.rows(); ++i) {
      const double norm = std::sqrt(kernels<T>().sum_squares(u + i * in.k, in.k));
      at.inverse[side][i] = static_cast<T>(1 / std::max(norm, kLeastNorm));
      kernels<T>().scale(at.inverse[side][i], u + i * in.k, in.k);
    }
    return u;
  }

  // du becomes the gradient before the norms.
  void through_norms(int side, const T* u, const T* inverse, T* du) const {
    const std::int64_t k = in_[side].k;
    for (std::int64_t i = 0; i < in_[side].rows(); ++i, u += k, du += k) {
      T along = 0;
      if (inverse[i] < static_cast<T>(1 / kLeastNorm)) {
        for (std::int64_t j = 0; j < k; ++j) along += u[j] * du[j];
      }
      for (std::int64_t j = 0; j < k; ++j) du[j] = (du[j] - u[j] * along) * inverse[i];
    }
  }

  void scatter(int side, const T* du, T* dx, bool add) const {
    const Axis& in = in_[side];
    for (std::int64_t o = 0; o < in.outer; ++o, du += in.k * in.inner, dx += in.k * in.inner) {
      if (!add) {
        kernels<T>().transpose(du, in.k, dx, in.inner, in.inner, in.k);
        continue;
      }
      for (std::int64_t j = 0; j < in.k; ++j) {
        for (std::int64_t i = 0; i < in.inner; ++i) dx[j * in.inner + i] += du[i * in.k + j];
      }
    }
  }

  Axis in_[2];  // each input as the matrix (outer inner, K)
  bool normalized_;
};

}  // namespace

template <class T> OpPtr<T> make_dot(const Node<T>& node) {
  const Shapes& xs = node.xs;
  node.expect(xs.size() == 2, "dot takes two inputs, got " + std::to_string(xs.size()));
  const Shape axes = node.integers("axes");
  node.expect(axes.size() == 2, "dot takes two axes");
  Shape shape;
  for (std::size_t side = 0; side < 2; ++side) {
    const Shape& x = xs[side];
    node.expect(axes[side] >= 0 && axes[side] < static_cast<std::int64_t>(x.size()),
                "no axis " + std::to_string(axes[side]) + " in " + to_string(x));
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (static_cast<std::int64_t>(i) != axes[side]) shape.push_back(x[i]);
    }
  }
  const auto a = static_cast<std::size_t>(axes[0]), b = static_cast<std::size_t>(axes[1]);
  node.expect(xs[0][a] == xs[1][b] && xs[0][a] > 0,
              "the axes of " + to_string(xs[0]) + " and " + to_string(xs[1]) + " differ in length");
  if (shape.empty()) shape.push_back(1);
  return std::make_unique<Dot<T>>(std::move(shape), Axis(xs[0], a), Axis(xs[1], b), node.flag("normalize"));
}
BP_INSTANTIATE_MAKER(make_dot)

}  // namespace bp
