#include "train/tiles.h"

#include <algorithm>

#include "ops/product.h"

namespace bp {
namespace {

// Of a slab: 512 columns of delta (batch 256: 512 KB) stay in the level-2 cache while 224 rows of the gradient pass,
// 227 GFLOP/s where 28 whole rows of 2048 columns gave 157.
constexpr std::int64_t kSlabRows = 224;

// Steps of at most `most` in a length: of equal size, so that threads get equal shares.
std::int64_t even_step(std::int64_t length, std::int64_t most, std::int64_t unit) {
  if (most >= length) return most;
  const std::int64_t steps = (length + most - 1) / most, even = (length + steps - 1) / steps;
  return (even + unit - 1) / unit * unit;
}

// unit: tile_rows().
std::int64_t rows_of_a_tile(std::int64_t rows, std::int64_t width, std::int64_t unit) {
  std::int64_t most = std::max(unit, kTileElements / width / unit * unit);
  if (width == 1) most = kTileElements;
  if (width > kSlabColumns) most = kSlabRows;
  return even_step(rows, most, unit);
}

template <class T> std::int64_t unit_of(const Plan<T>& plan, int param) {
  std::int64_t unit = kTileRows;
  for (const ParameterUse& use : plan.uses(param)) {
    unit = std::max(unit, tile_rows(plan.steps()[static_cast<std::size_t>(use.step)].op->facts().compute));
  }
  return unit;
}

// Terms that a sample adds to an element of a parameter's gradient: one in a dense layer, in a convolution as many as
// it has positions.
template <class T> std::int64_t terms_of(const Plan<T>& plan, int param) {
  double terms = 0;
  for (const ParameterUse& use : plan.uses(param)) {
    const Step<T>& step = plan.steps()[static_cast<std::size_t>(use.step)];
    double weights = 0;
    for (int p : step.params)
      weights += static_cast<double>(size_of(plan.graph().params[static_cast<std::size_t>(p)].shape));
    terms += static_cast<double>(step.op->sizes().flops) / (2 * std::max(weights, 1.0));
  }
  constexpr double kMost = 1 << 20;  // whatever the op says, work does not overflow
  return static_cast<std::int64_t>(std::clamp(terms + 0.5, 1.0, kMost));
}

}  // namespace

template <class T> Tiles<T>::Tiles(const Plan<T>& plan, int twice) {
  const auto& params = plan.graph().params;
  for (std::size_t p = 0; p < params.size(); ++p) {
    const int param = static_cast<int>(p);
    if (!params[p].trainable) continue;
    cut(params[p], param, unit_of(plan, param), terms_of(plan, param) * (param == twice ? 2 : 1));
  }
}

template <class T> void Tiles<T>::cut(const ParameterView<T>& view, int param, std::int64_t unit, std::int64_t passes) {
  const std::int64_t width = view.row_size();
  if (size_of(view.shape) == 0) return;
  if (view.shape.size() < 2) {  // a vector: one row
    const std::int64_t step = even_step(width, kTileElements, kTileRows);
    for (std::int64_t begin = 0; begin < width; begin += step) {
      add({{0, 1}, {begin, std::min(begin + step, width)}}, param, passes);
    }
    return;
  }
  const std::int64_t rows = rows_of_a_tile(view.rows(), width, unit);
  const int slabs = static_cast<int>((width + kSlabColumns - 1) / kSlabColumns);
  for (int slab = 0; slab < slabs; ++slab) {
    for (std::int64_t begin = 0; begin < view.rows(); begin += rows) {
      add({{begin, std::min(begin + rows, view.rows())}, split(width, slab, slabs)}, param, passes);
    }
  }
}

template <class T> void Tiles<T>::add(const Tile& tile, int param, std::int64_t passes) {
  const std::int64_t work = passes * tile.size();
  tiles_.push_back({tile, param, gradient_size_, work});
  middle_.push_back(work_ + work / 2);
  gradient_size_ += align_up<T>(tile.size());
  work_ += work;
  elements_ += tile.size();
}

template <class T> Rows Tiles<T>::of(int rank, int size) const {
  const auto first_in = [&](std::int64_t work) {
    return std::lower_bound(middle_.begin(), middle_.end(), work) - middle_.begin();
  };
  const Rows share = split(work_, rank, size);
  return {first_in(share.begin), first_in(share.end)};
}

template <class T> std::int64_t Tiles<T>::end_of_column(std::int64_t t, std::int64_t end) const {
  for (++t; t < end && (*this)[t].rows.begin > 0;) ++t;
  return t;
}

template class Tiles<float>;
template class Tiles<double>;

}  // namespace bp
