// activation: y = f(x), pointwise.  dx = dy * f'(x).  Kept: y, or x where f' needs it. The formulas:
// kernels/activations.h.
#include <algorithm>

#include "ops/activation.h"

#include "ops/op.h"
#include "ops/second_derivative.h"

namespace bp {
namespace {

template <class T> class PointwiseActivation final : public Op<T> {
 public:
  PointwiseActivation(const Shape& x, Activation f, T alpha) : size_(size_of(x)), function_(f), alpha_(alpha) {
    this->sizes_.shape = x;
    this->sizes_.flops = 10 * size_;
    this->facts_.pointwise = f;
    this->facts_.alpha = static_cast<double>(alpha);
    this->facts_.differential = Differential::kOwn;
    if (f != Activation::kLinear)
      this->facts_.ending = f == Activation::kSigmoid ? Ending::kSigmoid : Ending::kActivated;
  }
  std::int64_t scratch(std::int64_t rows) const override { return rows * size_; }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const Rows rows = block.rows;
    const std::int64_t offset = rows.begin * size_;
    kernels<T>().activate[static_cast<int>(function_)](io.x[0] + offset, io.y + offset, rows.count() * size_, alpha_);
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    const Rows rows = block.rows;
    const std::int64_t offset = rows.begin * size_, n = rows.count() * size_;
    const T* kept = (activation_keeps_z(function_) ? io.x[0] : io.y) + offset;
    T* dz = io.add[0] ? scratch : io.dx[0] + offset;
    kernels<T>().activate_back[static_cast<int>(function_)](kept, io.dy + offset, dz, n, alpha_);
    if (io.add[0]) kernels<T>().axpy(T(1), scratch, io.dx[0] + offset, n);
  }

  // dy_t = f'(x) x_t
  void forward_tangent(const Io<T>& io, const Io<T>& t, Rows rows, T*) const override {
    const std::int64_t offset = rows.begin * size_, n = rows.count() * size_;
    const T* kept = (activation_keeps_z(function_) ? io.x[0] : io.y) + offset;
    kernels<T>().activate_back[static_cast<int>(function_)](kept, t.x[0] + offset, t.y + offset, n, alpha_);
  }

  // dx_t = f'(x) dy_t + f''(x) x_t dy
  void backward_tangent(const Io<T>& io, const Io<T>& t, Rows rows, T*) const override {
    constexpr std::int64_t kPiece = 128;
    T first[kPiece], second[kPiece];
    const std::int64_t end = rows.end * size_;
    for (std::int64_t i = rows.begin * size_; i < end; i += kPiece) {
      const std::int64_t n = std::min(kPiece, end - i);
      const T* kept = (activation_keeps_z(function_) ? io.x[0] : io.y) + i;
      kernels<T>().activate_back[static_cast<int>(function_)](kept, t.dy + i, first, n, alpha_);
      second_derivative(function_, io.x[0] + i, io.y + i, second, n, alpha_);
      T* const dx = t.dx[0] + i;
      for (std::int64_t k = 0; k < n; ++k) {
        const T d = first[k] + second[k] * t.x[0][i + k] * io.dy[i + k];
        dx[k] = io.add[0] ? dx[k] + d : d;
      }
    }
  }

 private:
  std::int64_t size_;
  Activation function_;
  T alpha_;
};

}  // namespace

Activation activation_from_name(const std::string& name) {
  for (int i = 0; i < static_cast<int>(Activation::kCount); ++i) {
    if (name == activation_name(static_cast<Activation>(i))) return static_cast<Activation>(i);
  }
  throw BadInput("unknown activation '" + name + "'");
}

template <class T> OpPtr<T> make_activation(const Node<T>& node) {
  node.expect(node.xs.size() == 1, "an activation takes one input");
  const Activation function = activation_from_name(node.text("function"));
  return std::make_unique<PointwiseActivation<T>>(node.xs[0], function, static_cast<T>(node.number("alpha", 0)));
}
BP_INSTANTIATE_MAKER(make_activation)

}  // namespace bp
