// descend: a step of Nesterov's momentum for values that are held near others, as each sample's own.
//
//   c (N, ..) the values, v (N, ..) their velocity or none, a (N, ..) what they are held near, g (N, ..)
//   d = (gain g + pull (c - a)) / B        B: samples of the training batch
//   v' = momentum v + d                    c' = c - rate (d + momentum v')
//   part "value": y = c', part "velocity": y = v'
// No gradient goes back. Kept: nothing. Flops a sample: 8 a value.
#include "ops/op.h"

namespace bp {
namespace {

template <class T> class Descend final : public Op<T> {
 public:
  struct Rates {
    T rate, momentum, gain, pull;
  };
  Descend(const Shape& c, bool moving, bool velocity, Rates rates)
      : size_(size_of(c)), moving_(moving), velocity_(velocity), rates_(rates) {
    this->sizes_.shape = c;
    this->sizes_.flops = 8 * size_;
    this->facts_.stops = true;
  }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const std::int64_t begin = block.rows.begin * size_, end = block.rows.end * size_;
    const auto samples = io.batch == nullptr ? block.rows.count() : io.batch->load(std::memory_order_relaxed);
    const T share = T(1) / static_cast<T>(samples);
    const T *c = io.x[0], *a = io.x[1], *g = io.x[2], *v = moving_ ? io.x[3] : nullptr;
    for (std::int64_t i = begin; i < end; ++i) {
      const T d = (rates_.gain * g[i] + rates_.pull * (c[i] - a[i])) * share;
      const T speed = v == nullptr ? d : rates_.momentum * v[i] + d;
      io.y[i] = velocity_ ? speed : c[i] - rates_.rate * (d + rates_.momentum * speed);
    }
  }
  void backward(const Io<T>&, const Block&, T*) const override {}

 private:
  std::int64_t size_;
  bool moving_, velocity_;
  Rates rates_;
};

}  // namespace

template <class T> OpPtr<T> make_descend(const Node<T>& node) {
  const std::size_t count = node.xs.size();
  node.expect(count == 3 || count == 4, "takes values, what they are held near, a gradient and perhaps a velocity");
  for (const Shape& x : node.xs) node.expect(x == node.xs[0], "takes arrays of one shape");
  const std::string part = node.text("part");
  node.expect(part == "value" || part == "velocity", "unknown part '" + part + "'");
  const auto number = [&](const char* key) { return static_cast<T>(node.number(key)); };
  return std::make_unique<Descend<T>>(
      node.xs[0], count == 4, part == "velocity",
      typename Descend<T>::Rates{number("rate"), number("momentum"), number("gain"), number("pull")});
}
BP_INSTANTIATE_MAKER(make_descend)

}  // namespace bp
