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

 private:
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
