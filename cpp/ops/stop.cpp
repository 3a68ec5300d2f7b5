// stop: y = x, and no gradient goes back: what is behind it counts as data.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Stop final : public Op<T> {
 public:
  explicit Stop(const Shape& x) {
    this->sizes_.shape = x;
    this->facts_.stops = true;
  }
  void forward(const Io<T>& io, const Block& block, T*) const override {
    const std::int64_t size = size_of(this->sizes_.shape);
    std::copy_n(io.x[0] + block.rows.begin * size, block.rows.count() * size, io.y + block.rows.begin * size);
  }
  void backward(const Io<T>& io, const Block& block, T*) const override { (void)io, (void)block; }
};

}  // namespace

template <class T> OpPtr<T> make_stop(const Node<T>& node) {
  node.expect(node.xs.size() == 1, "stop takes one input");
  return std::make_unique<Stop<T>>(node.xs[0]);
}
BP_INSTANTIATE_MAKER(make_stop)

}  // namespace bp
