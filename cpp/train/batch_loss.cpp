#include "train/batch_loss.h"

#include <algorithm>

namespace bp {
namespace {

constexpr char kMemory[] = "the rows of a batch, each against each; a smaller batch_size takes less";

}  // namespace

template <class T> void HsicLoss<T>::make_room(std::int64_t n, std::int64_t width) {
  const std::int64_t size = Hsic<T>::memory_size(n, width), square = checked_mul(n, n);
  if (memory_.size() < size) memory_ = Buffer<T>(size, kUnwritten, kMemory);
  if (relation_.size() < square) relation_ = Buffer<T>(square, kUnwritten, kMemory);
}

template <class T> void HsicLoss<T>::run(const OutputBatch<T>& batch, const Look& look, T* row_loss, T* delta) {
  const std::int64_t n = batch.n, width = batch.width;
  std::fill_n(row_loss, n, T(0));
  if (delta != nullptr) std::fill_n(delta, n * width, T(0));
  Hsic<T> hsic(n, std::max(width, batch.target_width), static_cast<T>(options_.epsilon), memory_.data());
  T* const relation = relation_.data();
  for (const double each : options_.sigmas) {
    const auto sigma = static_cast<T>(each), scale = static_cast<T>(options_.scale);
    std::fill_n(relation, n * n, T(0));
    if (batch.label != nullptr) {
      hsic.add_ratio(batch.label, options_.classes, sigma, scale, relation, look);
    } else {
      hsic.add_ratio(batch.target, batch.target_width, sigma, scale, relation, look);
    }
    hsic.measure(batch.score, width, sigma, relation, row_loss, look);
    if (delta != nullptr) hsic.add_gradient(width, sigma, relation, T(1), delta, look);
  }
}

template class HsicLoss<float>;
template class HsicLoss<double>;

}  // namespace bp
