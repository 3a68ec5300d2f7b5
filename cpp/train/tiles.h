// The trained parameters as tiles: each belongs to one thread of a team, which sums its gradient over the batch and
// updates it while it is in the cache.
#pragma once

#include "plan/plan.h"

namespace bp {

constexpr std::int64_t kSlabColumns = 512;  // a wider matrix of parameters is cut into slabs of columns
// A tile's gradient, its weights and the optimizer's slots should fit the level-2 cache together: 4 x 32 KB of floats.
// But a tile of few rows starves the matrix kernel, which wants tile_rows().
constexpr std::int64_t kTileElements = 8192;

struct OwnedTile : Tile {
  int param;
  std::int64_t offset;  // of its gradient where gradients are materialised: compact, tile after tile
  std::int64_t work;    // passes over its elements that its owner makes
};

template <class T> class Tiles {
 public:
  // twice: a parameter that the owner of a tile passes over in forward, too; -1: none.
  Tiles(const Plan<T>& plan, int twice);

  std::int64_t count() const { return static_cast<std::int64_t>(tiles_.size()); }
  const OwnedTile& operator[](std::int64_t t) const { return tiles_[static_cast<std::size_t>(t)]; }
  const std::vector<OwnedTile>& all() const { return tiles_; }
  Rows of(int rank, int size) const;  // a tile belongs to the thread whose share of the work holds its middle
  std::int64_t elements() const { return elements_; }
  std::int64_t work() const { return work_; }
  std::int64_t gradient_size() const { return gradient_size_; }
  std::int64_t end_of_column(std::int64_t t,
                             std::int64_t end) const;  // of the tiles that stand below one another from t on

 private:
  void cut(const ParameterView<T>& view, int param, std::int64_t unit, std::int64_t passes);
  void add(const Tile& tile, int param, std::int64_t passes);

  std::vector<OwnedTile> tiles_;
  std::vector<std::int64_t> middle_;  // in the order of all work, to share the tiles out
  std::int64_t elements_ = 0, work_ = 0, gradient_size_ = 0;
};

// Calls with(offset in the parameter, offset in the tile's compact array, length) for each run of memory of a tile.
template <class T, class With> void each_run(const OwnedTile& tile, const ParameterView<T>& param, With&& with) {
  const std::int64_t width = param.row_size(), columns = tile.columns.count();
  if (columns == width) return with(tile.rows.begin * width, 0, tile.size());
  for (std::int64_t row = 0; row < tile.rows.count(); ++row) {
    with((tile.rows.begin + row) * width + tile.columns.begin, row * columns, columns);
  }
}

extern template class Tiles<float>;
extern template class Tiles<double>;

}  // namespace bp
