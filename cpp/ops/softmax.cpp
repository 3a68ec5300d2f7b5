// softmax:     y = exp(x - m) / sum exp(x - m), m = max x, over the last axis.  dx = y * (dy - sum(dy * y)).
// log_softmax: y = x - m - log sum exp(x - m).                                    dx = dy - exp(y) * sum(dy).
// Kept: y.
#include "ops/op.h"

namespace bp {
namespace {

template <class T> class Softmax final : public Op<T> {
 public:
  Softmax(const Shape& x, bool log) : size_(size_of(x)), last_(x.back()), log_(log) {
    this->sizes_.shape = x;
    this->facts_.differential = Differential::kOwn;
    this->sizes_.flops = 15 * size_;
    this->facts_.ending = log ? Ending::kLogSoftmax : Ending::kSoftmax;
  }
  std::int64_t scratch(std::int64_t rows) const override { return rows * size_; }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const Rows rows = block.rows;
    const std::int64_t offset = rows.begin * size_;
    const auto kernel = log_ ? kernels<T>().log_softmax : kernels<T>().softmax;
    kernel(io.x[0] + offset, io.y + offset, rows.count() * size_ / last_, last_);
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    const Rows rows = block.rows;
    const std::int64_t offset = rows.begin * size_, n = rows.count() * size_;
    const auto kernel = log_ ? kernels<T>().log_softmax_back : kernels<T>().softmax_back;
    kernel(io.y + offset, io.dy + offset, io.add[0] ? scratch : io.dx[0] + offset, n / last_, last_);
    if (io.add[0]) kernels<T>().axpy(T(1), scratch, io.dx[0] + offset, n);
  }

  // p = y, or e^y: softmax p (x_t - p x_t), log_softmax x_t - p x_t
  void forward_tangent(const Io<T>& io, const Io<T>& t, Rows rows, T* scratch) const override {
    each_row(io, rows, scratch, [&](std::int64_t at, const T* p) {
      T mean = 0;
      for (std::int64_t j = 0; j < last_; ++j) mean += p[j] * t.x[0][at + j];
      for (std::int64_t j = 0; j < last_; ++j) t.y[at + j] = (log_ ? T(1) : p[j]) * (t.x[0][at + j] - mean);
    });
  }

  // The derivatives of p (dy - sum p dy), and of dy - p sum dy.
  void backward_tangent(const Io<T>& io, const Io<T>& t, Rows rows, T* scratch) const override {
    each_row(io, rows, scratch, [&](std::int64_t at, const T* p) {
      const T *dy = io.dy + at, *dyt = t.dy + at, *yt = t.y + at;
      T mean = 0, mean_t = 0;
      for (std::int64_t j = 0; j < last_; ++j) {
        mean += log_ ? dy[j] : p[j] * dy[j];
        mean_t += log_ ? dyt[j] : p[j] * dyt[j] + yt[j] * dy[j];
      }
      for (std::int64_t j = 0; j < last_; ++j) {
        const T d = log_ ? dyt[j] - p[j] * (yt[j] * mean + mean_t) : p[j] * (dyt[j] - mean_t) + yt[j] * (dy[j] - mean);
        T& dx = t.dx[0][at + j];
        dx = io.add[0] ? dx + d : d;
      }
    });
  }

 private:
  // body(where a row begins, its probabilities)
  template <class Body> void each_row(const Io<T>& io, Rows rows, T* scratch, Body body) const {
    for (std::int64_t at = rows.begin * size_; at < rows.end * size_; at += last_) {
      if (log_) kernels<T>().math[static_cast<int>(Math::kExp)](io.y + at, scratch, last_);
      body(at, log_ ? scratch : io.y + at);
    }
  }

  std::int64_t size_, last_;
  bool log_;
};

}  // namespace

template <class T> OpPtr<T> make_softmax(const Node<T>& node) {
  node.expect(node.xs.size() == 1 && !node.xs[0].empty(), "softmax takes one input of rank 1 or more per sample");
  return std::make_unique<Softmax<T>>(node.xs[0], node.op == "log_softmax");
}
BP_INSTANTIATE_MAKER(make_softmax)

}  // namespace bp
