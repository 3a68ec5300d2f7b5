// history: the steps of a sequence behind the last ones before it, for layers that look back.
//
//   x (N, T, ..)   y (N, L + T, ..): y_{L+t} = x_t; before them the last L steps of the batch before, where states are
//   carried, else zeros
//   dx_t = dy_{L+t}, and what the steps to come have for it.  Carried: the last L steps.  Cost: a copy.
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class History final : public Op<T> {
 public:
  History(const Shape& x, std::int64_t before) : in_(size_of(x)), before_(before * (in_ / x[0])) {
    this->sizes_.shape = x;
    this->sizes_.shape[0] += before;
    this->sizes_.carried = before_;
    this->facts_.differential = Differential::kAffine;
  }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      T* const y = io.y + r * (before_ + in_);
      if (io.carried != nullptr) {
        std::copy_n(io.carried + r * before_, before_, y);
      } else {
        std::fill_n(y, before_, T(0));
      }
      std::copy_n(io.x[0] + r * in_, in_, y + before_);
      if (io.carries != nullptr) std::copy_n(y + in_, before_, io.carries + r * before_);
    }
  }

  void backward(const Io<T>& io, const Block& block, T*) const override {
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      T* const dy = io.dy + r * (before_ + in_);
      if (io.dcarries != nullptr) kernels<T>().axpy(T(1), io.dcarries + r * before_, dy + in_, before_);
      if (io.dcarried != nullptr) std::copy_n(dy, before_, io.dcarried + r * before_);
      if (io.dx[0] == nullptr) continue;
      if (io.add[0]) {
        kernels<T>().axpy(T(1), dy + before_, io.dx[0] + r * in_, in_);
      } else {
        std::copy_n(dy + before_, in_, io.dx[0] + r * in_);
      }
    }
  }

 private:
  std::int64_t in_, before_;  // numbers
};

}  // namespace

template <class T> OpPtr<T> make_history(const Node<T>& node) {
  node.expect(node.xs.size() == 1 && !node.xs[0].empty() && size_of(node.xs[0]) > 0, "expected one input with steps");
  const std::int64_t before = node.integer("steps");
  node.expect(before > 0, "expected at least one step before");
  checked_mul(before + node.xs[0][0], size_of(node.xs[0]) / node.xs[0][0]);
  return std::make_unique<History<T>>(node.xs[0], before);
}
BP_INSTANTIATE_MAKER(make_history)

}  // namespace bp
