// stop: y = x, and no gradient goes back: what is behind it counts as data. With a rate the gradient goes back times
// the rate: dx = rate dy.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Stop final : public Op<T> {
 public:
  Stop(const Shape& x, T rate) : rate_(rate) {
    this->sizes_.shape = x;
    this->facts_.stops = rate == 0;
  }
  void forward(const Io<T>& io, const Block& block, T*) const override {
    const std::int64_t size = size_of(this->sizes_.shape);
    std::copy_n(io.x[0] + block.rows.begin * size, block.rows.count() * size, io.y + block.rows.begin * size);
  }
  void backward(const Io<T>& io, const Block& block, T*) const override {
    if (rate_ == 0 || io.dx[0] == nullptr) return;
    const std::int64_t size = size_of(this->sizes_.shape), offset = block.rows.begin * size;
    T* dx = io.dx[0] + offset;
    if (!io.add[0]) std::fill_n(dx, block.rows.count() * size, T(0));
    kernels<T>().axpy(rate_, io.dy + offset, dx, block.rows.count() * size);
  }

 private:
  T rate_;
};

}  // namespace

template <class T> OpPtr<T> make_stop(const Node<T>& node) {
  node.expect(node.xs.size() == 1, "stop takes one input");
  return std::make_unique<Stop<T>>(node.xs[0], static_cast<T>(node.number("rate", 0)));
}
BP_INSTANTIATE_MAKER(make_stop)

}  // namespace bp
