// synthetic: y = h; backward hands h a prediction of the gradient in its place, and the prediction what it lacks.
//
//   h, g, y (N, ..): g predicts each sample's own dL/dh, that is N dy, for the loss is a mean over the N samples
//   dh = g / N             the prediction as gradient
//   dg = 2 (g - N dy) / N  of |g - N dy|^2, a mean over the samples: the gradient as value
// Decoupled neural interfaces (M. Jaderberg et al., 2017). Nothing is kept. Flops: 4 a value backward.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Synthetic final : public Op<T> {
 public:
  explicit Synthetic(const Shape& h) : size_(size_of(h)) {
    this->sizes_.shape = h;
    this->sizes_.flops = 2 * size_;
    this->facts_.unlocks = true;
  }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const std::int64_t offset = block.rows.begin * size_;
    std::copy_n(io.x[0] + offset, block.rows.count() * size_, io.y + offset);
  }

  void backward(const Io<T>& io, const Block& block, T*) const override {
    const std::int64_t offset = block.rows.begin * size_, n = block.rows.count() * size_;
    const T samples = io.batch == nullptr ? T(1) : static_cast<T>(io.batch->load(std::memory_order_relaxed));
    const T *g = io.x[1] + offset, *dy = io.dy + offset;
    const T one = T(1) / samples, two = T(2) / samples;
    const auto put = [&](std::size_t input, auto&& value) {
      T* dx = io.dx[input];
      if (dx == nullptr) return;
      dx += offset;
      if (io.add[input]) {
        for (std::int64_t i = 0; i < n; ++i) dx[i] += value(i);
      } else {
        for (std::int64_t i = 0; i < n; ++i) dx[i] = value(i);
      }
    };
    put(0, [&](std::int64_t i) { return g[i] * one; });
    put(1, [&](std::int64_t i) { return (g[i] - samples * dy[i]) * two; });
  }

 private:
  std::int64_t size_;
};

}  // namespace

template <class T> OpPtr<T> make_synthetic(const Node<T>& node) {
  node.expect(node.xs.size() == 2 && node.xs[0] == node.xs[1], "synthetic takes a value and a gradient of its shape");
  return std::make_unique<Synthetic<T>>(node.xs[0]);
}
BP_INSTANTIATE_MAKER(make_synthetic)

}  // namespace bp
