// The second half of a training step: parameters by tiles, their gradients over the whole batch, and the optimizer's update.
#include "train/step.h"

#include <algorithm>
#include <cmath>

#include "base/cache.h"

namespace bp {
namespace {

// A tile's gradient, its weights and the optimizer's slots should fit the level-2 cache together: 4 x 32 KB of floats. But
// a tile of few rows starves the matrix kernel, which wants two register tiles of up to 14 rows.
constexpr std::int64_t kTileElements = 8192;
constexpr std::int64_t kTileRows = 28;
// Of a slab: 512 columns of delta (batch 256: 512 KB) stay in the level-2 cache while 224 rows of the gradient pass,
// 227 GFLOP/s where 28 whole rows of 2048 columns gave 157.
constexpr std::int64_t kSlabRows = 224;

constexpr std::int64_t kPrefetchedValues = 16 << 10, kLongRow = 48;

std::size_t at(int i) { return static_cast<std::size_t>(i); }

}  // namespace

template <class T> void TrainingStep<T>::build_tiles() {
  std::int64_t offset = 0;
  for (std::size_t p = 0; p < graph_->params.size(); ++p) {
    const ParameterView<T>& param = graph_->params[p];
    if (!param.trainable) continue;
    const std::int64_t width = param.row_size();
    const int slabs = static_cast<int>((width + kSlabColumns - 1) / kSlabColumns);
    std::int64_t rows = kTileElements;  // of a bias, whose rows are single values
    if (width > 1) rows = std::max(kTileRows, kTileElements / width / kTileRows * kTileRows);
    if (width > kSlabColumns) rows = kSlabRows;
    if (rows < param.rows()) {  // of equal size, so that threads get equal shares
      const std::int64_t tiles = (param.rows() + rows - 1) / rows, even = (param.rows() + tiles - 1) / tiles;
      rows = (even + kTileRows - 1) / kTileRows * kTileRows;
    }
    const std::int64_t in_place = most_in_place(static_cast<int>(p));
    for (int slab = 0; slab < slabs; ++slab) {
      for (std::int64_t begin = 0; begin < param.rows(); begin += rows) {
        const Tile tile{{begin, std::min(begin + rows, param.rows())}, split(width, slab, slabs)};
        const std::int64_t work = static_cast<int>(p) == relay_.param ? 2 * tile.size() : tile.size();  // in forward, too
        tiles_.push_back({tile, static_cast<int>(p), offset, work, in_place});
        offset += align_up<T>(tile.size());
        tile_middle_.push_back(work_ + work / 2);
        work_ += work;
        elements_ += tile.size();
      }
    }
  }
  gradient_size_ = offset;
  tile_norm_.assign(tiles_.size(), 0.0);
}

// A tile belongs to the thread whose share of the work holds its middle.
template <class T> Rows TrainingStep<T>::my_tiles(int rank, int size) const {
  const auto first_in = [&](std::int64_t work) {
    return std::lower_bound(tile_middle_.begin(), tile_middle_.end(), work) - tile_middle_.begin();
  };
  const Rows share = split(work_, rank, size);
  return {first_in(share.begin), first_in(share.end)};
}

template <class T>
void TrainingStep<T>::accumulate(const OwnedTile& tile, int rank, std::int64_t n, bool add, T* g, T* scratch) {
  bool adds = add;
  for (const ParameterUse& use : plan_->uses(tile.param)) {
    const Step<T>& step = plan_->steps()[at(use.step)];
    step.op->accumulate(io_of(use.step, rank), use.slot, tile, n, g, adds, scratch);
    adds = true;
  }
  if (!adds) std::fill_n(g, tile.size(), T(0));  // no way from this parameter to a loss
  if (penalties_.trained()) penalties_.add(static_cast<std::size_t>(&tile - tiles_.data()), tile.param, tile, g);
}

template <class T> void TrainingStep<T>::clip(T* g, std::int64_t n, double scale) {
  if (scale != 1) kernels<T>().scale(static_cast<T>(scale), g, n);
  if (config_->clip_value <= 0) return;
  const T limit = static_cast<T>(config_->clip_value);
  for (std::int64_t i = 0; i < n; ++i) g[i] = g[i] > limit ? limit : g[i] < -limit ? -limit : g[i];
}

template <class T> void TrainingStep<T>::apply(const OwnedTile& tile, const T* g) {
  const std::int64_t width = graph_->params[at(tile.param)].row_size(), columns = tile.columns.count();
  const bool dense = columns == width;  // then the tile's rows are one run of memory
  const std::int64_t offset = tile.rows.begin * width + tile.columns.begin;
  const auto& slots = config_->slots[at(tile.param)];
  UpdateArgs<T> args{};
  args.rows = dense ? 1 : tile.rows.count();
  args.n = dense ? tile.size() : columns;
  args.stride = width;
  args.g = g;
  args.w = graph_->params[at(tile.param)].value + offset;
  for (std::size_t s = 0; s < slots.size(); ++s) args.slot[s] = slots[s] + offset;
  args.hyper = hyper_.of(config_->groups.empty() ? 0 : config_->group_of[at(tile.param)]);
  kernels<T>().update[static_cast<int>(config_->optimizer.kind)](args);
}

// Plain gradient descent on a wide matrix needs no array for the gradient: a product's tile goes from its registers into the
// weights, as w - rate g in one rounding, like the update. Narrow ones are faster in two steps, by 5 to 20 %, but for those of
// a relay, which no other core has read (784-30-10: 6.0 -> 5.8 us).
template <class T> std::int64_t TrainingStep<T>::most_in_place(int param) const {
  const auto& uses = plan_->uses(param);
  const double decay = config_->groups.empty() ? config_->optimizer.weight_decay
                                               : config_->groups[at(config_->group_of[at(param)])].weight_decay;
  const bool pays = graph_->params[at(param)].row_size() > kSlabColumns || param == relay_.param;
  const bool plain = config_->has_optimizer && config_->optimizer.kind == Optimizer::kSgd && decay == 0 &&
                     config_->clip_value <= 0 && !penalties_.any() && uses.size() == 1;
  return pays && plain ? plan_->steps()[at(uses[0].step)].op->descends(uses[0].slot) : 0;
}

// Of any run of tiles, for any batch up to n. Tiles are of equal height but for the last, so runs from the first tile and
// runs to the last one have all heights.
template <class T> std::int64_t TrainingStep<T>::descend_scratch(std::int64_t n) const {
  const auto count = static_cast<std::int64_t>(tiles_.size());
  std::int64_t most = 0;
  for (std::int64_t first = 0, end = 1; first < count; first = end, ++end) {
    while (end < count && tiles_[static_cast<std::size_t>(end)].rows.begin > 0) ++end;
    const OwnedTile& top = tiles_[static_cast<std::size_t>(first)];
    if (top.in_place == 0) continue;
    const ParameterUse& use = plan_->uses(top.param)[0];
    const auto ask = [&](Rows rows) {  // a last batch may be in place where a whole one is too large
      for (std::int64_t m = 1; m <= std::min(n, top.in_place); ++m) {
        most = std::max(most, plan_->steps()[at(use.step)].op->descend_scratch(use.slot, {rows, top.columns}, m));
      }
    };
    const std::int64_t height = graph_->params[at(top.param)].rows();
    for (std::int64_t t = first; t < end; ++t) {
      const OwnedTile& tile = tiles_[static_cast<std::size_t>(t)];
      ask({0, tile.rows.end});
      ask({tile.rows.begin, height});
    }
  }
  return most;
}

// The end of the tiles from one on that are updated at once: in place a tile and those below it, delta is packed once for all.
template <class T> std::int64_t TrainingStep<T>::end_of_run(std::int64_t tile, std::int64_t end, std::int64_t n) const {
  const bool runs = n <= tiles_[static_cast<std::size_t>(tile)].in_place;
  for (++tile; runs && tile < end && tiles_[static_cast<std::size_t>(tile)].rows.begin > 0;) ++tile;
  return tile;
}

template <class T> void TrainingStep<T>::descend(Rows run, int rank, std::int64_t n, T* scratch) {
  OwnedTile tile = tiles_[static_cast<std::size_t>(run.begin)];
  tile.rows.end = tiles_[static_cast<std::size_t>(run.end - 1)].rows.end;
  const ParameterView<T>& param = graph_->params[at(tile.param)];
  const ParameterUse& use = plan_->uses(tile.param)[0];
  const T rate = hyper_.of(config_->groups.empty() ? 0 : config_->group_of[at(tile.param)]).learning_rate;
  plan_->steps()[at(use.step)].op->descend(io_of(use.step, rank), use.slot, tile, n, rate,
                                           param.value + tile.rows.begin * param.row_size() + tile.columns.begin, scratch);
}

// The next batch, to be asked for ahead: shuffled rows come from far away. None if a thread's share would crowd the level-2
// cache, or rows are so short that the gather itself asks for them in time.
template <class T> Rows TrainingStep<T>::next_rows(const Team& team, const BatchJob<T>& job) const {
  if (job.order == nullptr) return {0, 0};
  const std::int64_t next = std::min(job.rows.count(), job.source->n - job.rows.end);
  std::int64_t values = 0;
  for (const RowReader<T>& reader : job.source->xs) values += reader.row_size();
  if (values < kLongRow || next * values / team.size > kPrefetchedValues) return {0, 0};
  return {job.rows.end, job.rows.end + next};
}

// All threads have read the weights in the forward pass; while the gradient is computed they come back to their owner. Adam
// on 784-128-10 with two threads: 57 -> 55 us a step.
template <class T> void TrainingStep<T>::own_weights(const OwnedTile& tile) const {
  const std::int64_t width = graph_->params[at(tile.param)].row_size();
  if (tile.columns.count() != width || tile.size() > kTileElements) return;  // more at once cost more than they save
  const T* w = graph_->params[at(tile.param)].value + tile.rows.begin * width;
  constexpr std::int64_t kLine = kAlignment / static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t i = 0; i < tile.size(); i += kLine) prefetch_own(w + i);
}

template <class T> void TrainingStep<T>::update_fused(Team& team, const BatchJob<T>& job) {
  T* scratch = scratch_[at(team.rank)].data();
  T* g = tile_gradient_[at(team.rank)].data();
  const Rows mine = my_tiles(team.rank, team.size);
  const bool relay = relay_.threads > 0;
  // Then the weights of a relay are this thread's alone until the relay is passed on.
  const bool leaves_early = relay && !penalties_.any() && !constraints_.any();
  Rows next{0, 0};
  if (!relay) {
    const Rows batch = next_rows(team, job), share = split(batch.count(), team.rank, team.size);
    next = {batch.begin + share.begin, batch.begin + share.end};
  }
  const std::int64_t tiles = std::max<std::int64_t>(mine.count(), 1), a_tile = (next.count() + tiles - 1) / tiles;
  const std::int64_t n = job.rows.count();
  for (Rows left = mine; left.count() > 0;) {
    // A relay's own tiles are the first ones, and come last: the others are waited for.
    const bool other = relay && tiles_[static_cast<std::size_t>(left.end - 1)].param != relay_.param;
    const Rows run = other ? Rows{left.end - 1, left.end} : Rows{left.begin, end_of_run(left.begin, left.end, n)};
    (other ? left.end : left.begin) = other ? run.begin : run.end;
    const OwnedTile& tile = tiles_[static_cast<std::size_t>(run.begin)];
    if (leaves_early && tile.param == relay_.param) team.arrive();
    if (team.size > 1 && !relay) own_weights(tile);
    for (std::int64_t rows = std::min(a_tile * run.count(), next.count()); rows > 0; --rows) {
      const std::int64_t row = job.order[next.begin++];
      for (const RowReader<T>& reader : job.source->xs) reader.prefetch(row, {0, reader.row_size()});
    }
    if (n <= tile.in_place) {
      descend(run, team.rank, n, scratch);
      continue;
    }
    accumulate(tile, team.rank, n, false, g, scratch);
    clip(g, tile.size(), 1);
    if (config_->has_optimizer) apply(tile, g);
  }
}

template <class T> void TrainingStep<T>::update_materialised(Team& team, const BatchJob<T>& job) {
  const Rows mine = my_tiles(team.rank, team.size);
  const bool update = job.update && config_->has_optimizer;
  T* scratch = scratch_[at(team.rank)].data();
  for (std::int64_t t = mine.begin; t < mine.end; ++t) {
    const OwnedTile& tile = tiles_[static_cast<std::size_t>(t)];
    T* g = gradients_.data() + tile.offset;
    if (job.rows.count() > 0) accumulate(tile, team.rank, job.rows.count(), job.add_gradients, g, scratch);
    if (!update) continue;
    clip(g, tile.size(), job.gradient_scale);
    tile_norm_[static_cast<std::size_t>(t)] = config_->clip_norm > 0 ? kernels<T>().sum_squares(g, tile.size()) : 0;
  }
  if (!update) return;
  if (config_->clip_norm > 0) team.barrier();
  const double scale = config_->clip_norm > 0 ? norm_scale() : 1;
  for (std::int64_t t = mine.begin; t < mine.end; ++t) {
    const OwnedTile& tile = tiles_[static_cast<std::size_t>(t)];
    T* g = gradients_.data() + tile.offset;
    if (scale != 1) kernels<T>().scale(static_cast<T>(scale), g, tile.size());
    apply(tile, g);
  }
}

template <class T> void TrainingStep<T>::finish(Team& team, const BatchJob<T>& job) {
  hyper_.set(job.learning_rate, job.step);
  update_materialised(team, job);
  constraints_.apply(team);
}

// clip_norm / ||g|| if the global norm is over clip_norm; the tiles' sums are added in order on every thread.
template <class T> double TrainingStep<T>::norm_scale() const {
  double sum = 0;
  for (double part : tile_norm_) sum += part;
  const double norm = std::sqrt(sum);
  return norm > config_->clip_norm ? config_->clip_norm / norm : 1;
}

#define BP_INSTANTIATE_UPDATE(T)                                                                                \
  template void TrainingStep<T>::build_tiles();                                                                 \
  template Rows TrainingStep<T>::my_tiles(int rank, int size) const;                                            \
  template Rows TrainingStep<T>::next_rows(const Team& team, const BatchJob<T>& job) const;                     \
  template void TrainingStep<T>::accumulate(const OwnedTile& tile, int rank, std::int64_t n, bool add, T* g,    \
                                            T* scratch);                                                        \
  template void TrainingStep<T>::clip(T* g, std::int64_t n, double scale);                                      \
  template void TrainingStep<T>::apply(const OwnedTile& tile, const T* g);                                      \
  template std::int64_t TrainingStep<T>::most_in_place(int param) const;                                        \
  template std::int64_t TrainingStep<T>::descend_scratch(std::int64_t n) const;                                 \
  template std::int64_t TrainingStep<T>::end_of_run(std::int64_t tile, std::int64_t end, std::int64_t n) const; \
  template void TrainingStep<T>::descend(Rows run, int rank, std::int64_t n, T* scratch);                       \
  template void TrainingStep<T>::update_fused(Team& team, const BatchJob<T>& job);                              \
  template void TrainingStep<T>::update_materialised(Team& team, const BatchJob<T>& job);                       \
  template void TrainingStep<T>::finish(Team& team, const BatchJob<T>& job);
BP_INSTANTIATE_UPDATE(float)
BP_INSTANTIATE_UPDATE(double)
#undef BP_INSTANTIATE_UPDATE

}  // namespace bp
