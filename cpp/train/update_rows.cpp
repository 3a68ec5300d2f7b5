// Update of parameters of which a batch touches some rows (train/touched.h).
#include "train/update.h"

#include <algorithm>

namespace bp {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

OwnedTile row_of(OwnedTile tile, std::int64_t row) {
  tile.rows = {row, row + 1};
  return tile;
}

}  // namespace

template <class T> Rows Update<T>::touched_run(Rows left, bool last) const {
  const int param = tiles_[last ? left.end - 1 : left.begin].param;
  while (last && tiles_[left.begin].param != param) ++left.begin;
  while (!last && tiles_[left.end - 1].param != param) --left.end;
  return left;
}

template <class T> Rows Update<T>::rows_of(Rows run) const {
  Rows all = tiles_[run.begin].rows;
  for (std::int64_t t = run.begin; t < run.end; ++t) {
    all = {std::min(all.begin, tiles_[t].rows.begin), std::max(all.end, tiles_[t].rows.end)};
  }
  return all;
}

// The tiles of one parameter, updated as they are summed.
template <class T> void Update<T>::run_touched(Rows run, const Team& team, std::int64_t n, const Weights<T>& to) {
  T* const scratch = work_.scratch[at(team.rank)].data();
  T* const g = tile_gradient(team.rank);
  const int param = tiles_[run.begin].param;
  const bool trial = &to != &trial_.own(), leaves_rest = touched_.leaves_rest(param);
  const typename Touched<T>::Keys keys = touched_.find(param, rows_of(run), n, team.rank);
  if (!leaves_rest) std::fill_n(g, tile_gradient_[at(team.rank)].size(), T(0));
  for (std::int64_t t = run.begin; t < run.end; ++t) {
    const OwnedTile& tile = tiles_[t];
    const std::int64_t columns = tile.columns.count();
    const auto place = [&](std::int64_t row) { return leaves_rest ? g : g + (row - tile.rows.begin) * columns; };
    touched_.each(param, tile.rows, keys, n, [&](std::int64_t row, const typename Touched<T>::Keys& of_row) {
      T* const d = place(row);
      touched_.sum(param, of_row, n, tile.columns, d, false, scratch);
      if (trial) look_at(t, d, columns);
      clip(d, columns, 1);
      if (leaves_rest && work_.config->has_optimizer) apply(row_of(tile, row), d, to);
    });
    if (leaves_rest) continue;
    if (work_.config->has_optimizer) apply(t, g, to);
    touched_.each(param, tile.rows, keys, n,
                  [&](std::int64_t row, const auto&) { std::fill_n(place(row), columns, T(0)); });
  }
}

template <class T> void Update<T>::collect_touched(Rows run, const Team& team, const BatchJob<T>& job) {
  T* const scratch = work_.scratch[at(team.rank)].data();
  const int param = tiles_[run.begin].param;
  const std::int64_t n = job.rows.count();
  const typename Touched<T>::Keys keys = touched_.find(param, rows_of(run), n, team.rank);
  for (std::int64_t t = run.begin; t < run.end; ++t) {
    const OwnedTile& tile = tiles_[t];
    const std::int64_t columns = tile.columns.count();
    T* const g = gradients_.data() + tile.offset;
    if (!job.add_gradients) touched_.clear(t, g);
    touched_.each(param, tile.rows, keys, n, [&](std::int64_t row, const typename Touched<T>::Keys& of_row) {
      const std::int64_t r = row - tile.rows.begin;
      touched_.sum(param, of_row, n, tile.columns, g + r * columns, touched_.marks(t)[r] != 0, scratch);
      touched_.mark(t, r);
    });
  }
}

template <class T> void Update<T>::apply_touched(std::int64_t t, const T* g, const Weights<T>& to) {
  const OwnedTile& tile = tiles_[t];
  for (std::int64_t row = 0; row < tile.rows.count(); ++row) {
    if (touched_.marks(t)[row] != 0) apply(row_of(tile, tile.rows.begin + row), g + row * tile.columns.count(), to);
  }
}

template <class T> void Update<T>::take_waiting(const Update& other) {
  materialise();
  const auto trained = [](const Tiles<T>& tiles) {
    std::vector<int> found;
    for (const OwnedTile& tile : tiles.all()) found.push_back(tile.param);
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
  };
  check(other.gradients_.size() == gradients_.size() && trained(tiles_) == trained(other.tiles_),
        "gradients of other weights wait for an update than those that are trained now; with accumulate_steps freeze "
        "and thaw layers after an update, or between epochs");
  std::copy_n(other.gradients_.data(), other.gradients_.size(), gradients_.data());
  touched_.take_marks(other.touched_);
  trial_.take_waiting(other.trial_);
}

#define BP_INSTANTIATE(T)                                                                   \
  template Rows Update<T>::touched_run(Rows, bool) const;                                   \
  template Rows Update<T>::rows_of(Rows) const;                                             \
  template void Update<T>::run_touched(Rows, const Team&, std::int64_t, const Weights<T>&); \
  template void Update<T>::collect_touched(Rows, const Team&, const BatchJob<T>&);          \
  template void Update<T>::take_waiting(const Update<T>&);                                  \
  template void Update<T>::apply_touched(std::int64_t, const T*, const Weights<T>&);
BP_INSTANTIATE(float)
BP_INSTANTIATE(double)
#undef BP_INSTANTIATE

}  // namespace bp
