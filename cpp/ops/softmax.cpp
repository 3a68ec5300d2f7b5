// softmax:     y = exp(x - m) / sum exp(x - m), m = max x, over the last axis.  dx = y * (dy - sum(dy * y)).
// log_softmax: y = x - m - log sum exp(x - m).                                    dx = dy - exp(y) * sum(dy).
// Kept: y.
#include "ops/makers.h"

namespace bp {
namespace {

template <class T> class Softmax final : public Op<T> {
 public:
  Softmax(const Shape& x, bool log) : size_(size_of(x)), last_(x.back()), log_(log) { this->shape = x; }
  std::int64_t scratch_size(std::int64_t rows) const override { return rows * size_; }
  std::int64_t flops() const override { return 15 * size_; }

  void forward(const Io<T>& io, Rows rows, T*) const override {
    const std::int64_t offset = rows.begin * size_;
    const auto kernel = log_ ? kernels<T>().log_softmax : kernels<T>().softmax;
    kernel(io.x[0] + offset, io.y + offset, rows.count() * size_ / last_, last_);
  }

  void backward(const Io<T>& io, Rows rows, T* scratch) const override {
    const std::int64_t offset = rows.begin * size_, n = rows.count() * size_;
    const auto kernel = log_ ? kernels<T>().log_softmax_back : kernels<T>().softmax_back;
    kernel(io.y + offset, io.dy + offset, io.add[0] ? scratch : io.dx[0] + offset, n / last_, last_);
    if (io.add[0]) kernels<T>().axpy(T(1), scratch, io.dx[0] + offset, n);
  }

 private:
  std::int64_t size_, last_;
  bool log_;
};

template <class T> OpPtr<T> make(const NodeSpec<T>& spec, const Shapes& xs, bool log) {
  check(xs.size() == 1 && !xs[0].empty(), spec.name + ": softmax takes one input of rank 1 or more per sample");
  return std::make_unique<Softmax<T>>(xs[0], log);
}

}  // namespace

template <class T> OpPtr<T> make_softmax(const NodeSpec<T>& spec, const Shapes& xs, const Shapes&) {
  return make<T>(spec, xs, false);
}
template <class T> OpPtr<T> make_log_softmax(const NodeSpec<T>& spec, const Shapes& xs, const Shapes&) {
  return make<T>(spec, xs, true);
}
BP_INSTANTIATE_MAKER(make_softmax)
BP_INSTANTIATE_MAKER(make_log_softmax)

}  // namespace bp
