// Nodes without mathematics: input (data of the caller), target (what an output is compared with; of a label 1 at its
// place), constant (the same values for every sample), reshape (the same memory under another shape: the plan makes it
// an alias).
#include "ops/op.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Source : public Op<T> {
 public:
  Source(const Shape& shape, Role role, bool ids = false) {
    this->sizes_.shape = shape;
    this->facts_.role = role;
    this->facts_.keeps_probabilities = role == Role::kAlias;
    this->facts_.ids = this->facts_.takes_ids = ids;
  }
  void name_output(int output) { this->facts_.output = output; }
  void forward(const Io<T>&, const Block&, T*) const override {}
  void backward(const Io<T>&, const Block&, T*) const override {}
};

template <class T> class Constant final : public Source<T> {
 public:
  explicit Constant(const Array& array) : Source<T>(array.shape, Role::kConstant) {
    for (double value : array.values) value_.push_back(static_cast<T>(value));
  }
  void forward(const Io<T>& io, const Block& block, T*) const override {
    T* y = io.y + block.rows.begin * static_cast<std::int64_t>(value_.size());
    for (std::int64_t row = 0; row < block.rows.count(); ++row) y = std::copy(value_.begin(), value_.end(), y);
  }

 private:
  std::vector<T> value_;
};

}  // namespace

template <class T> OpPtr<T> make_input(const Node<T>& node) {
  return std::make_unique<Source<T>>(node.integers("shape"), Role::kInput, node.flag("ids"));
}
template <class T> OpPtr<T> make_target(const Node<T>& node) {
  auto made = std::make_unique<Source<T>>(node.integers("shape"), Role::kTarget);
  made->name_output(static_cast<int>(node.integer("output")));
  return made;
}
template <class T> OpPtr<T> make_constant(const Node<T>& node) {
  const Array& array = node.array("value");
  node.expect(static_cast<std::int64_t>(array.values.size()) == size_of(array.shape), "constant of a wrong size");
  return std::make_unique<Constant<T>>(array);
}
template <class T> OpPtr<T> make_reshape(const Node<T>& node) {
  const Shape shape = node.integers("shape");
  node.expect(node.xs.size() == 1, "reshape takes one input");
  node.expect(size_of(node.xs[0]) == size_of(shape), "cannot see " + to_string(node.xs[0]) + " as " + to_string(shape));
  return std::make_unique<Source<T>>(shape, Role::kAlias);
}
BP_INSTANTIATE_MAKER(make_input)
BP_INSTANTIATE_MAKER(make_target)
BP_INSTANTIATE_MAKER(make_constant)
BP_INSTANTIATE_MAKER(make_reshape)

}  // namespace bp
