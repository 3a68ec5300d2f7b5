// activation: y = f(x), pointwise.  dx = dy * f'(x).  Kept: y, or x where f' needs it. The formulas:
// kernels/activations.h.
#include <algorithm>
#include <cmath>

#include "ops/activation.h"

#include "ops/op.h"

namespace bp {
namespace {

// f''(z), from z and a = f(z). At a kink it is that of the side whose slope df takes.
template <class T> void second_derivative(Activation f, const T* z, const T* a, T* d, std::int64_t n, T alpha) {
  const auto each = [&](auto g) {
    for (std::int64_t i = 0; i < n; ++i) d[i] = g(i);
  };
  const auto with = [&](Activation inner) { kernels<T>().activate[static_cast<int>(inner)](z, d, n, T(0)); };
  constexpr T kNormal = T(0.39894228040143267794), kCubic = T(0.044715), kSlope = T(0.79788456080286535588);
  constexpr T kLambdaAlpha = T(1.7580993408473768599);
  switch (f) {
    case Activation::kSigmoid: return each([&](std::int64_t i) { return a[i] * (T(1) - a[i]) * (T(1) - T(2) * a[i]); });
    case Activation::kTanh: return each([&](std::int64_t i) { return T(-2) * a[i] * (T(1) - a[i] * a[i]); });
    case Activation::kElu: return each([&](std::int64_t i) { return z[i] > 0 ? T(0) : a[i] + alpha; });
    case Activation::kSelu: return each([&](std::int64_t i) { return z[i] > 0 ? T(0) : a[i] + kLambdaAlpha; });
    case Activation::kCelu:
      return each([&](std::int64_t i) { return z[i] > 0 ? T(0) : (a[i] / alpha + T(1)) / alpha; });
    case Activation::kExponential: return each([&](std::int64_t i) { return a[i]; });
    case Activation::kSoftsign:
      return each([&](std::int64_t i) {
        const T rest = T(1) - std::abs(a[i]);
        return (z[i] < 0 ? T(2) : z[i] > 0 ? T(-2) : T(0)) * rest * rest * rest;
      });
    case Activation::kSoftplus:
      with(Activation::kSigmoid);
      return each([&](std::int64_t i) { return d[i] * (T(1) - d[i]); });
    case Activation::kSilu:
      with(Activation::kSigmoid);
      return each([&](std::int64_t i) { return d[i] * (T(1) - d[i]) * (T(2) + z[i] * (T(1) - T(2) * d[i])); });
    case Activation::kGelu:  // phi (2 - z^2)
      each([&](std::int64_t i) { return T(-0.5) * z[i] * z[i]; });
      kernels<T>().math[static_cast<int>(Math::kExp)](d, d, n);
      return each([&](std::int64_t i) { return kNormal * d[i] * (T(2) - z[i] * z[i]); });
    case Activation::kGeluTanh:  // z (1 + t) / 2, t = tanh(u)
      each([&](std::int64_t i) { return kSlope * (z[i] + kCubic * z[i] * z[i] * z[i]); });
      kernels<T>().activate[static_cast<int>(Activation::kTanh)](d, d, n, T(0));
      return each([&](std::int64_t i) {
        const T slope = kSlope * (T(1) + T(3) * kCubic * z[i] * z[i]), rest = T(1) - d[i] * d[i];
        const T once = rest * slope, twice = rest * T(6) * kSlope * kCubic * z[i] - T(2) * d[i] * once * slope;
        return once + z[i] * twice / T(2);
      });
    case Activation::kMish: {  // z t, t = tanh(softplus(z)), s = sigmoid(z)
      T s[128];
      kernels<T>().activate[static_cast<int>(Activation::kSigmoid)](z, s, n, T(0));
      with(Activation::kSoftplus);
      kernels<T>().activate[static_cast<int>(Activation::kTanh)](d, d, n, T(0));
      return each([&](std::int64_t i) {
        const T rest = T(1) - d[i] * d[i], once = rest * s[i];
        return T(2) * once + z[i] * (once * (T(1) - s[i]) - T(2) * d[i] * once * s[i]);
      });
    }
    default:  // straight pieces
      return each([](std::int64_t) { return T(0); });
  }
}

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
