// activation: y = f(x), pointwise.  dx = dy * f'(x).  Kept: y, or x where f' needs it. The formulas: kernels/activations.h.
#include "ops/makers.h"

namespace bp {
namespace {

template <class T> class PointwiseActivation final : public Op<T> {
 public:
  PointwiseActivation(const Shape& x, Activation f, T alpha) : size_(size_of(x)), function_(f), alpha_(alpha) {
    this->shape = x;
  }
  std::int64_t scratch_size(std::int64_t rows) const override { return rows * size_; }
  std::int64_t flops() const override { return 10 * size_; }

  void forward(const Io<T>& io, Rows rows, T*) const override {
    const std::int64_t offset = rows.begin * size_;
    kernels<T>().activate[static_cast<int>(function_)](io.x[0] + offset, io.y + offset, rows.count() * size_, alpha_);
  }

  void backward(const Io<T>& io, Rows rows, T* scratch) const override {
    const std::int64_t offset = rows.begin * size_, n = rows.count() * size_;
    const T* kept = (activation_keeps_z(function_) ? io.x[0] : io.y) + offset;
    T* dz = io.add[0] ? scratch : io.dx[0] + offset;
    kernels<T>().activate_back[static_cast<int>(function_)](kept, io.dy + offset, dz, n, alpha_);
    if (io.add[0]) kernels<T>().axpy(T(1), scratch, io.dx[0] + offset, n);
  }

 private:
  std::int64_t size_;
  Activation function_;
  T alpha_;
};

}  // namespace

template <class T> OpPtr<T> make_activation(const NodeSpec<T>& spec, const Shapes& xs, const Shapes&) {
  check(xs.size() == 1, spec.name + ": an activation takes one input");
  return std::make_unique<PointwiseActivation<T>>(xs[0], spec.function, static_cast<T>(spec.alpha));
}
BP_INSTANTIATE_MAKER(make_activation)

}  // namespace bp
