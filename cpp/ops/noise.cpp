// noise: random in training, y = x otherwise. A number depends on (seed, draw, row, place in the sample) alone, so
// neither threads nor a resumed run change it; nor do positions that padding adds at the end of a sample (.., F) of
// several axes.
//
//   dropout           y = x m,      m = 0 with probability r, else 1 / (1 - r)     (Srivastava et al. 2014; inverted)
//   alpha_dropout     y = x m + c,  with probability r m = 0, c = a s + b, else m = a, c = b; s = -1.7581, a = ((1 - r)
//                     (1 + r s^2))^-1/2, b = -a r s: keeps mean 0 and variance 1  (Klambauer et al. 2017)
//   gaussian_dropout  y = x m,      m ~ N(1, r / (1 - r))                          (Srivastava et al. 2014)
//   gaussian          y = x + e,    e ~ N(0, r^2)
//   dx = dy m
// The masks of dropout may have fewer values than a sample: then they repeat over its leading axes (spatial dropout).
// Kept: m, but for gaussian. Flops a sample: about 20 a random number.
#include "ops/op.h"

#include <algorithm>
#include <cmath>

namespace bp {
namespace {

enum class Mode { kDropout, kAlpha, kGaussianDropout, kGaussian };
constexpr double kSeluLow = -1.0507009873554804934 * 1.6732632423543772848;  // selu's value at minus infinity

template <class T> class Noise final : public Op<T> {
 public:
  Noise(const Shape& x, Mode mode, double rate, const Shape& mask, std::uint64_t seed)
      : size_(size_of(x)), mask_(std::max<std::int64_t>(size_of(mask), 1)), groups_(groups_of(mask)), mode_(mode),
        rate_(rate), seed_(seed) {
    this->sizes_.shape = x;
    this->sizes_.saved = mode == Mode::kGaussian ? 0 : mask_;
    this->sizes_.flops = 20 * mask_ + size_;
    this->facts_.draws = true;
    this->facts_.differential = Differential::kAffine;
    this->facts_.keeps_probabilities = true;
    threshold_ = static_cast<std::uint32_t>(std::min(rate * 0x1p32, 0x1p32 - 1));
    if (mode == Mode::kDropout) kept_ = static_cast<T>(1 / (1 - rate));
    if (mode == Mode::kAlpha) {
      const double a = 1 / std::sqrt((1 - rate) * (1 + rate * kSeluLow * kSeluLow)), b = -a * rate * kSeluLow;
      kept_ = static_cast<T>(a), low_ = static_cast<T>(a * kSeluLow + b), level_ = static_cast<T>(b);
    }
  }
  std::int64_t scratch(std::int64_t) const override { return std::max(size_, mask_); }

  void forward(const Io<T>& io, const Block& block, T* scratch) const override {
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      const T* x = io.x[0] + r * size_;
      T* y = io.y + r * size_;
      if (!io.training) {
        std::copy_n(x, size_, y);
        continue;
      }
      T* m = io.saved != nullptr && mode_ != Mode::kGaussian ? io.saved + r * mask_ : scratch;
      draw(io, r, m);
      if (mode_ == Mode::kGaussian) {
        std::copy_n(x, size_, y);
        kernels<T>().axpy(T(1), m, y, size_);
        continue;
      }
      for (std::int64_t at = 0; at < size_; at += mask_) multiply(x + at, m, y + at);
      if (mode_ != Mode::kAlpha) continue;
      for (std::int64_t i = 0; i < size_; ++i) y[i] += m[i] == T(0) ? low_ : level_;
    }
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    const bool multiplies = io.training && mode_ != Mode::kGaussian;
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      const T* dy = io.dy + r * size_;
      T* dx = io.dx[0] + r * size_;
      if (multiplies) {
        T* to = io.add[0] ? scratch : dx;
        for (std::int64_t at = 0; at < size_; at += mask_) multiply(dy + at, io.saved + r * mask_, to + at);
        dy = to;
      }
      if (io.add[0]) {
        kernels<T>().axpy(T(1), dy, dx, size_);
      } else if (!multiplies) {
        std::copy_n(dy, size_, dx);
      }
    }
  }

 private:
  // Sixty-four numbers each. Where a sample has positions, samples lie as far apart as the longest would be, 2^34
  // values.
  static std::int64_t groups_of(const Shape& mask) {
    const auto axes = mask.end() - std::find_if(mask.begin(), mask.end(), [](std::int64_t n) { return n != 1; });
    return axes > 1 ? std::int64_t{1} << 28 : (size_of(mask) + 63) / 64;
  }

  void draw(const Io<T>& io, std::int64_t row, T* m) const {
    const auto group = static_cast<std::uint64_t>(row * groups_);
    switch (mode_) {
      case Mode::kDropout:
      case Mode::kAlpha: kernels<T>().random_choice(seed_, io.draw, group, mask_, threshold_, T(0), kept_, m); break;
      case Mode::kGaussianDropout:
        kernels<T>().random_normal(seed_, io.draw, group, mask_, T(1), static_cast<T>(std::sqrt(rate_ / (1 - rate_))),
                                   m);
        break;
      case Mode::kGaussian: kernels<T>().random_normal(seed_, io.draw, group, mask_, T(0), static_cast<T>(rate_), m);
    }
  }
  void multiply(const T* x, const T* m, T* y) const {
    kernels<T>().binary[static_cast<int>(Binary::kMultiply)](x, 1, m, 1, y, mask_);
  }

  std::int64_t size_, mask_, groups_;
  Mode mode_;
  double rate_;
  std::uint64_t seed_;
  std::uint32_t threshold_ = 0;
  T kept_ = 0, low_ = 0, level_ = 0;
};

Mode mode_from_name(const std::string& name) {
  if (name == "dropout") return Mode::kDropout;
  if (name == "alpha_dropout") return Mode::kAlpha;
  if (name == "gaussian_dropout") return Mode::kGaussianDropout;
  check(name == "gaussian", "unknown noise '" + name + "'");
  return Mode::kGaussian;
}

}  // namespace

template <class T> OpPtr<T> make_noise(const Node<T>& node) {
  node.expect(node.xs.size() == 1, "noise takes one input");
  const Mode mode = mode_from_name(node.text("mode"));
  const double rate = node.number("rate");
  node.expect(rate >= 0 && (mode == Mode::kGaussian || rate < 1), "the rate must be in [0, 1)");
  // Of the mask: ones, then the sample's trailing axes.
  const Shape shape = node.has("shape") ? node.integers("shape") : node.xs[0];
  const std::int64_t size = size_of(node.xs[0]), mask = size_of(shape);
  node.expect(mask > 0 ? size % mask == 0 : size == 0, "the mask does not fit the sample");
  node.expect(mask == size || mode == Mode::kDropout || mode == Mode::kGaussianDropout, "this noise has no mask shape");
  return std::make_unique<Noise<T>>(node.xs[0], mode, rate, shape, node.seed());
}
BP_INSTANTIATE_MAKER(make_noise)

}  // namespace bp
