// Nodes without mathematics: input (data of the caller), constant (the same values for every sample), reshape (the same
// memory under another shape: the plan makes it an alias).
#include "ops/makers.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Source : public Op<T> {
 public:
  explicit Source(const Shape& shape) { this->shape = shape; }
  void forward(const Io<T>&, Rows, T*) const override {}
  void backward(const Io<T>&, Rows, T*) const override {}
};

template <class T> class Constant final : public Source<T> {
 public:
  Constant(const Shape& shape, std::vector<T> value) : Source<T>(shape), value_(std::move(value)) {}
  void forward(const Io<T>& io, Rows rows, T*) const override {
    T* y = io.y + rows.begin * static_cast<std::int64_t>(value_.size());
    for (std::int64_t row = 0; row < rows.count(); ++row) y = std::copy(value_.begin(), value_.end(), y);
  }

 private:
  std::vector<T> value_;
};

}  // namespace

template <class T> OpPtr<T> make_input(const NodeSpec<T>& spec, const Shapes&, const Shapes&) {
  return std::make_unique<Source<T>>(spec.shape);
}
template <class T> OpPtr<T> make_constant(const NodeSpec<T>& spec, const Shapes&, const Shapes&) {
  check(static_cast<std::int64_t>(spec.constant.size()) == size_of(spec.shape), spec.name + ": constant of a wrong size");
  return std::make_unique<Constant<T>>(spec.shape, spec.constant);
}
template <class T> OpPtr<T> make_reshape(const NodeSpec<T>& spec, const Shapes& xs, const Shapes&) {
  check(xs.size() == 1 && size_of(xs[0]) == size_of(spec.shape),
        spec.name + ": cannot see " + to_string(xs[0]) + " as " + to_string(spec.shape));
  return std::make_unique<Source<T>>(spec.shape);
}
BP_INSTANTIATE_MAKER(make_input)
BP_INSTANTIATE_MAKER(make_constant)
BP_INSTANTIATE_MAKER(make_reshape)

}  // namespace bp
