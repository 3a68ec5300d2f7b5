// function: y = f(x), pointwise, f one of sin cos log sqrt square abs power step sign (kernels/functions.isa.cpp).
//
//   dx = dy f'(x)
// Kept: x. Flops a value: about 10 either way.
#include "ops/op.h"

#include <utility>

namespace bp {
namespace {

template <class T> class PointwiseFunction final : public Op<T> {
 public:
  PointwiseFunction(const Shape& x, Function f, T alpha)
      : size_(size_of(x)), function_(static_cast<int>(f)), alpha_(alpha) {
    this->sizes_.shape = x;
    this->sizes_.flops = 10 * size_;
    this->facts_.ending = Ending::kActivated;
  }
  std::int64_t scratch(std::int64_t rows) const override { return rows * size_; }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const std::int64_t offset = block.rows.begin * size_;
    kernels<T>().function[function_](io.x[0] + offset, io.y + offset, block.rows.count() * size_, alpha_);
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    const std::int64_t offset = block.rows.begin * size_, n = block.rows.count() * size_;
    T* dx = io.add[0] ? scratch : io.dx[0] + offset;
    kernels<T>().function_back[function_](io.x[0] + offset, io.dy + offset, dx, n, alpha_);
    if (io.add[0]) kernels<T>().axpy(T(1), scratch, io.dx[0] + offset, n);
  }

 private:
  std::int64_t size_;
  int function_;
  T alpha_;
};

}  // namespace

template <class T> OpPtr<T> make_function(const Node<T>& node) {
  static const std::pair<const char*, Function> kNames[] = {
      {"sin", Function::kSin},     {"cos", Function::kCos},       {"log", Function::kLog},
      {"sqrt", Function::kSqrt},   {"square", Function::kSquare}, {"abs", Function::kAbs},
      {"power", Function::kPower}, {"step", Function::kStep},     {"sign", Function::kSign}};
  node.expect(node.xs.size() == 1, "a function takes one input");
  const std::string wanted = node.text("function");
  const T alpha = static_cast<T>(node.number("alpha", 0));
  for (const auto& [name, f] : kNames) {
    if (wanted == name) return std::make_unique<PointwiseFunction<T>>(node.xs[0], f, alpha);
  }
  throw BadInput(node.name + ": unknown function '" + wanted + "'");
}
BP_INSTANTIATE_MAKER(make_function)

}  // namespace bp
