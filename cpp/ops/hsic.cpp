// hsic: how much some values say of others, as one number for the batch, the same for every sample.
//
//   z_1 .. z_K (N, ..)   o_1 .. o_J (N, ..)   y (N, 1)   y_n = sum over sigmas, k, j of weight_j nHSIC(z_k, o_j)
//   dz_k = (sum_n dy_n) dy/dz_k; the others are seen as data: no gradient goes to them.
// nHSIC, its gradient and its cost are those of kernels/hsic.h, over all samples of the batch, on one thread. What the
// others say of a sigma is found once for all z.
// Kept: dy/dz_k, which forward finds while it has what leads there.
#include "ops/op.h"

#include <algorithm>

#include "kernels/hsic.h"

namespace bp {
namespace {

template <class T> class Dependence final : public Op<T> {
 public:
  Dependence(const Shapes& xs, std::size_t count, std::vector<T> weights, std::vector<T> sigmas, T epsilon)
      : count_(count), weights_(std::move(weights)), sigmas_(std::move(sigmas)), epsilon_(epsilon) {
    for (const Shape& x : xs) sizes_of_.push_back(size_of(x));
    width_ = *std::max_element(sizes_of_.begin(), sizes_of_.end());
    this->sizes_.shape = {1};
    for (std::size_t k = 0; k < count_; ++k) this->sizes_.saved += sizes_of_[k];
    this->facts_.partition = Partition::kWhole;
    this->facts_.steepness = 1;
  }

  std::int64_t scratch(std::int64_t rows) const override {
    return Hsic<T>::memory_size(rows, width_) + align_up<T>(checked_mul(rows, rows)) + align_up<T>(rows);
  }

  void forward(const Io<T>& io, const Block& block, T* scratch) const override {
    const std::int64_t n = block.rows.count();
    T* const relation = scratch;
    T* const parts = relation + align_up<T>(n * n);
    Hsic<T> hsic(n, width_, epsilon_, parts + align_up<T>(n));
    std::fill_n(parts, n, T(0));
    if (io.saved != nullptr) std::fill_n(io.saved, n * this->sizes_.saved, T(0));
    for (const T sigma : sigmas_) {
      std::fill_n(relation, n * n, T(0));
      for (std::size_t j = 0; j < weights_.size(); ++j) {
        hsic.add_ratio(io.x[count_ + j], sizes_of_[count_ + j], sigma, weights_[j], relation, kGoOn);
      }
      T* gradient = io.saved;
      for (std::size_t k = 0; k < count_; ++k) {
        hsic.measure(io.x[k], sizes_of_[k], sigma, relation, parts, kGoOn);
        if (io.saved == nullptr) continue;
        hsic.add_gradient(sizes_of_[k], sigma, relation, T(1), gradient, kGoOn);
        gradient += n * sizes_of_[k];
      }
    }
    T total = 0;
    for (std::int64_t i = 0; i < n; ++i) total += parts[i];
    std::fill_n(io.y, n, total / static_cast<T>(n));
  }

  void backward(const Io<T>& io, const Block& block, T*) const override {
    const std::int64_t n = block.rows.count();
    T slope = 0;
    for (std::int64_t i = 0; i < n; ++i) slope += io.dy[i];
    const T* gradient = io.saved;
    for (std::size_t k = 0; k < io.dx.size(); ++k) {
      const std::int64_t size = n * sizes_of_[k];
      if (io.dx[k] != nullptr && !io.add[k]) std::fill_n(io.dx[k], size, T(0));
      if (k >= count_) continue;
      if (io.dx[k] != nullptr) kernels<T>().axpy(slope, gradient, io.dx[k], size);
      gradient += size;
    }
  }

 private:
  inline static const typename Hsic<T>::Look kGoOn = [](double) {};

  std::size_t count_;  // of the first inputs, which get gradients
  std::vector<T> weights_, sigmas_;
  T epsilon_;
  std::vector<std::int64_t> sizes_of_;
  std::int64_t width_;
};

template <class T> std::vector<T> numbers(const Node<T>& node, const char* key) {
  std::vector<T> found;
  for (double value : node.array(key).values) found.push_back(static_cast<T>(value));
  return found;
}

}  // namespace

template <class T> OpPtr<T> make_hsic(const Node<T>& node) {
  const auto count = node.integer("count");
  std::vector<T> weights = numbers(node, "weights"), sigmas = numbers(node, "sigmas");
  const double epsilon = node.number("epsilon");
  node.expect(count > 0 && !weights.empty() && static_cast<std::size_t>(count) + weights.size() == node.xs.size(),
              "takes values and what they are compared with, and a weight for each of these");
  node.expect(epsilon > 0 && !sigmas.empty() && *std::min_element(sigmas.begin(), sigmas.end()) > T(0),
              "takes sigmas and an epsilon above 0");
  return std::make_unique<Dependence<T>>(node.xs, static_cast<std::size_t>(count), std::move(weights),
                                         std::move(sigmas), static_cast<T>(epsilon));
}
BP_INSTANTIATE_MAKER(make_hsic)

}  // namespace bp
