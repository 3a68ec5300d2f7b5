#include "train/update.h"

#include <algorithm>
#include <cmath>

#include "base/cache.h"

namespace bp {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

template <class T> void take_signs(const T* from, Rows some, T* to) {
  for (std::int64_t i = some.begin; i < some.end; ++i) to[i] = std::copysign(to[i], from[i]);
}

}  // namespace

template <class T>
Update<T>::Update(Workspace<T>& work, const Tiles<T>& tiles, const Relay<T>& relay)
    : work_(work), tiles_(tiles), relay_(relay), penalties_(*work.graph, work.config->penalties),
      constraints_(*work.graph, work.config->constraints), hyper_(work.config->optimizer, work.config->groups),
      trial_(work, tiles), touched_(work, tiles), tile_norm_(at(tiles.count()), 0.0), bad_tile_(tiles.count()) {
  for (std::size_t p = 0; p < work_.graph->params.size(); ++p) in_place_.push_back(most_in_place(static_cast<int>(p)));
  penalties_.set_tiles(at(tiles_.count()));
  if (work_.config->has_optimizer && work_.config->preconditioner) {
    preconditioner_ = work_.config->preconditioner(work_.graph, work_.config);
  }
  const StepConfig<T>& config = *work_.config;
  if (config.clip_norm > 0 || config.accumulate_steps > 1 || config.in_stretches || preconditioner_ != nullptr) {
    materialise();
  }
}

template <class T> void Update<T>::materialise() {
  make_gradients();
  materialise_ = true;
}

template <class T> void Update<T>::make_gradients() {
  const std::int64_t size = std::max<std::int64_t>(tiles_.gradient_size(), 1);
  if (gradients_.size() == 0) gradients_ = Buffer<T>(size, "the gradients of all weights");
}

template <class T> void Update<T>::make_room(int threads) {
  constexpr const char* what = "the gradient of a part of a weight";
  std::int64_t most = 0;
  for (const OwnedTile& tile : tiles_.all()) most = std::max(most, tile.size());
  while (static_cast<int>(tile_gradient_.size()) < threads) tile_gradient_.emplace_back(most, kUnwritten, what);
  touched_.make_room(threads, work_.capacity);
}

// To materialise is another pass over the weights, so the update of very many can only be waited for.
template <class T> void Update<T>::prepare(std::int64_t n, bool training) {
  constexpr double kPieces = 12;  // 0.03 to 0.3 s of one core
  constexpr std::int64_t kMostElements = 100'000'000;
  long_ = training && tiles_.elements() <= kMostElements &&
          work_.plan->operations() * static_cast<double>(n) > kPieces * most_of_a_piece<T>();
  if (long_) make_gradients();
  for (const SignedBy& pair : work_.config->signs) {  // the weights may be others than the last update left
    const std::int64_t size = training ? size_of(work_.param(pair.by).shape) : 0;
    take_signs(work_.param(pair.by).value, {0, size}, work_.param(pair.param).value);
  }
  measure();
}

template <class T> void Update<T>::align_signs(Team& team) {
  if (work_.config->signs.empty()) return;
  if (constraints_.any()) team.barrier();  // they are not divided by tiles
  const Rows mine = tiles_.of(team.rank, team.size);
  for (const SignedBy& pair : work_.config->signs) {
    for (std::int64_t t = mine.begin; t < mine.end; ++t) {
      if (tiles_[t].param != pair.by) continue;
      each_run(tiles_[t], work_.param(pair.by), [&](std::int64_t offset, std::int64_t, std::int64_t n) {
        take_signs(work_.param(pair.by).value, {offset, offset + n}, work_.param(pair.param).value);
      });
    }
  }
}

template <class T> void Update<T>::measure() {
  bad_tile_.store(tiles_.count(), std::memory_order_relaxed);
  trial_.prepare();
}

template <class T> void Update<T>::set_rate(const BatchJob<T>& job) {
  if (job.training && job.update && work_.config->has_optimizer) hyper_.set(job.learning_rate, job.step);
}

template <class T> void Update<T>::look(const Team& team, const BatchJob<T>& job) {
  if (team.rank == 0) set_rate(job);  // not before: others may still have been in the last update
  trial_.look(team, job, hyper_);
}

// ---- scratch --------------------------------------------------------------------------------------------------------

template <class T> std::int64_t Update<T>::scratch(std::int64_t n) const {
  std::int64_t most = in_place_scratch(n);
  for (const OwnedTile& tile : tiles_.all()) {
    for (const ParameterUse& use : work_.plan->uses(tile.param)) {
      most = std::max(most, work_.step(use.step).op->accumulate_scratch(use.slot, tile, n));
    }
  }
  return most;
}

// Of any run of tiles.
template <class T> std::int64_t Update<T>::in_place_scratch(std::int64_t n) const {
  std::int64_t most = 0;
  for (const OwnedTile& tile : tiles_.all()) {
    const std::int64_t batches = std::min(n, in_place_[at(tile.param)]);
    if (batches == 0 || tile.rows.begin > 0) continue;
    const Tile column{{0, work_.param(tile.param).rows()}, tile.columns};
    most = std::max(most, product_of(tile.param).subtraction_scratch(column, batches));
  }
  return most;
}

// ---- a tile ---------------------------------------------------------------------------------------------------------

template <class T> void Update<T>::accumulate(std::int64_t t, Team& team, std::int64_t n, bool add, T* g, T* scratch) {
  const OwnedTile& tile = tiles_[t];
  bool adds = add;
  for (const ParameterUse& use : work_.plan->uses(tile.param)) {
    const Op<T>& op = *work_.step(use.step).op;
    if (long_) {
      accumulate_in_parts(use, tile, team, n, adds, g, scratch);
    } else if (relays(use.step, team) && use.slot == Product<T>::kWeights) {
      op.as_product()->gradient(relay_.arrays(team), {0, n}, tile, g, adds, scratch);
    } else {
      op.accumulate(work_.io(use.step), use.slot, tile, {0, n}, g, adds, scratch);
    }
    adds = true;
  }
  if (!adds) std::fill_n(g, tile.size(), T(0));  // no way from this parameter to a loss
  if (penalties_.trained()) penalties_.add(at(t), tile.param, tile, g);
}

// Chunk by chunk, where chunks are runs of samples; else some rows, or columns, of the tile: not so few that a matrix
// product starves.
template <class T>
void Update<T>::accumulate_in_parts(const ParameterUse& use, const OwnedTile& tile, Team& team, std::int64_t n,
                                    bool add, T* g, T* scratch) {
  constexpr std::int64_t kLine = kAlignment / static_cast<std::int64_t>(sizeof(T));
  const Step<T>& step = work_.step(use.step);
  const Op<T>& op = *step.op;
  const Io<T>& io = work_.io(use.step);
  const Product<T>* product = use.slot == Product<T>::kWeights ? op.as_product() : nullptr;
  std::int64_t weights = 0;
  for (int p : step.params) weights += size_of(work_.param(p).shape);
  const double each = step.operations() / static_cast<double>(weights);  // of a sample and a weight
  if (const std::int64_t chunk = product == nullptr ? 0 : product->samples_of_a_chunk(); chunk > 0) {
    T* const sum = add ? tile_gradient(team.rank) : g;
    for (Rows some{0, 0}; some.begin < n; some.begin = some.end) {
      some.end = std::min(some.begin + chunk, n);
      op.accumulate(io, use.slot, tile, some, sum, some.begin > 0, scratch);
      team.look(each * static_cast<double>(some.count() * tile.size()));
    }
    if (add) kernels<T>().axpy(T(1), sum, g, tile.size());
    return;
  }
  const bool one_row = tile.rows.count() == 1;
  const std::int64_t size = one_row ? tile.columns.count() : tile.rows.count(),
                     least = one_row ? kLine : tile_rows(op.facts().compute);
  const double all = each * static_cast<double>(n * tile.size());
  const double most = static_cast<double>((size + least - 1) / least);
  const int parts = static_cast<int>(std::clamp(std::ceil(all / std::max(most_of_a_piece<T>(), 1.0)), 1.0, most));
  for (int i = 0; i < parts; ++i) {
    const Rows some = split_at(least, size, i, parts);
    Tile part = tile;
    Rows& axis = one_row ? part.columns : part.rows;
    axis = {axis.begin + some.begin, axis.begin + some.end};
    op.accumulate(io, use.slot, part, {0, n}, g + some.begin * (tile.size() / size), add, scratch);
    team.look(all / parts);
  }
}

template <class T> void Update<T>::clip(T* g, std::int64_t n, double scale) const {
  if (scale != 1) kernels<T>().scale(static_cast<T>(scale), g, n);
  if (work_.config->clip_value <= 0) return;
  const T limit = static_cast<T>(work_.config->clip_value);
  for (std::int64_t i = 0; i < n; ++i) g[i] = g[i] > limit ? limit : g[i] < -limit ? -limit : g[i];
}

// The gradient of a tile, where there is a doubt: before a limit makes it finite.
template <class T> void Update<T>::look_at(std::int64_t t, const T* g, std::int64_t size) {
  if (kernels<T>().all_finite(g, size)) return;
  work_.flaw();
  std::int64_t first = bad_tile_.load(std::memory_order_relaxed);
  while (t < first && !bad_tile_.compare_exchange_weak(first, t, std::memory_order_relaxed)) {
  }
}

// The proximal step of an l1 penalty, after a step of its rate: w = sign(w) max(|w| - rate l1, 0), which has exact
// zeros.
template <class T> void soften(const UpdateArgs<T>& args, T threshold) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    T* w = args.w + row * args.stride;
    for (std::int64_t i = 0; i < args.n; ++i) {
      w[i] = w[i] > threshold ? w[i] - threshold : w[i] < -threshold ? w[i] + threshold : w[i] != w[i] ? w[i] : T(0);
    }
  }
}

template <class T> void Update<T>::apply(const OwnedTile& tile, const T* g, const Weights<T>& to) {
  const std::int64_t width = work_.param(tile.param).row_size(), columns = tile.columns.count();
  const bool dense = columns == width;  // then the tile's rows are one run of memory
  const std::int64_t offset = tile.rows.begin * width + tile.columns.begin;
  const auto& slots = to.slots[at(tile.param)];
  UpdateArgs<T> args{};
  args.rows = dense ? 1 : tile.rows.count();
  args.n = dense ? tile.size() : columns;
  args.stride = width;
  args.g = g;
  args.w = to.w[at(tile.param)] + offset;
  for (std::size_t s = 0; s < slots.size(); ++s) args.slot[s] = slots[s] + offset;
  args.hyper = hyper_.of(work_.config->group(tile.param));
  kernels<T>().update[static_cast<int>(work_.config->optimizer.kind)](args);
  if (const double l1 = penalties_.proximal(tile.param); l1 > 0)
    soften(args, static_cast<T>(l1) * args.hyper.learning_rate);
}

// Plain gradient descent on a wide matrix needs no array for the gradient: a product's tile goes from its registers
// into the weights, as w - rate g in one rounding, like the update. Narrow ones are faster in two steps, by 5 to 20 %,
// but for those of a relay, which no other core has read (784-30-10: 6.0 -> 5.8 us).
template <class T> std::int64_t Update<T>::most_in_place(int param) const {
  const StepConfig<T>& config = *work_.config;
  const auto& uses = work_.plan->uses(param);
  const double decay =
      config.groups.empty() ? config.optimizer.weight_decay : config.groups[at(config.group(param))].weight_decay;
  const bool pays = work_.param(param).row_size() > kSlabColumns || param == relay_.param();
  const bool plain = config.has_optimizer && config.optimizer.kind == Optimizer::kSgd && decay == 0 &&
                     config.clip_value <= 0 && !penalties_.any() && uses.size() == 1;
  if (!pays || !plain || uses[0].slot != Product<T>::kWeights) return 0;
  const Product<T>* product = work_.step(uses[0].step).op->as_product();
  return product == nullptr ? 0 : product->samples_of_a_chunk();
}

template <class T> const Product<T>& Update<T>::product_of(int param) const {
  return *work_.step(work_.plan->uses(param)[0].step).op->as_product();
}

// In place a tile and those below it are updated at once: delta is packed once for all.
template <class T> std::int64_t Update<T>::end_of_run(std::int64_t t, std::int64_t end, std::int64_t n) const {
  return in_place(tiles_[t].param, n) ? tiles_.end_of_column(t, end) : t + 1;
}

template <class T> void Update<T>::run_in_place(Rows run, const Team& team, std::int64_t n, T* scratch) {
  Tile tile = tiles_[run.begin];
  tile.rows.end = tiles_[run.end - 1].rows.end;
  const int p = tiles_[run.begin].param;
  const int step = work_.plan->uses(p)[0].step;
  const ProductArrays<T> arrays = relays(step, team) ? relay_.arrays(team) : product_of(p).arrays(work_.io(step));
  const T rate = hyper_.of(work_.config->group(p)).learning_rate;
  product_of(p).subtract_gradient(arrays, {0, n}, tile, rate, work_.param(p).value, scratch);
}

// All threads have read the weights in the forward pass; while the gradient is computed they come back to their owner.
// Adam on 784-128-10 with two threads: 57 -> 55 us a step.
template <class T> void Update<T>::prefetch_weights(const OwnedTile& tile) const {
  const std::int64_t width = work_.param(tile.param).row_size();
  if (tile.columns.count() != width || tile.size() > kTileElements) return;  // more at once cost more than they save
  const T* w = work_.param(tile.param).value + tile.rows.begin * width;
  constexpr std::int64_t kLine = kAlignment / static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t i = 0; i < tile.size(); i += kLine) prefetch_own(w + i);
}

// ---- all tiles ------------------------------------------------------------------------------------------------------

template <class T> bool Update<T>::begin(Team& team, const BatchJob<T>& job) {
  const bool looks = work_.unbounded.load(std::memory_order_relaxed) && !work_.doubtful.load(std::memory_order_relaxed);
  if (!long_ && !looks) return false;
  if (looks) {
    if (team.rank == 0) make_gradients();
    team.barrier();
  }
  collect(team, job, looks);
  team.barrier();
  if (team.rank == 0) work_.unbounded.store(false, std::memory_order_relaxed);  // all have seen it
  return true;
}

template <class T> void Update<T>::run(Team& team, const BatchJob<T>& job, bool collected) {
  if (team.rank == 0) trial_.move_on(job);
  run(team, job, trial_.own(), collected);
}

template <class T> bool Update<T>::try_out(Team& team, const BatchJob<T>& job, bool collected) {
  run(team, job, trial_.copy(team, job), collected);
  return trial_.sound(team, job);
}

template <class T> void Update<T>::run(Team& team, const BatchJob<T>& job, const Weights<T>& to, bool collected) {
  const bool update = job.update && work_.config->has_optimizer;
  if (team.rank == 0 && job.commit) work_.frame->commit(job.rows.count(), to.w);
  if (materialised() || collected) {
    if (!collected) collect(team, job, false);
    if (update && clips_norm() && !collected) team.barrier();
    if (update) scale_collected(team);
    if (preconditioner_ != nullptr) precondition(team, job);
    if (update) apply_collected(team, to);
  } else {
    run_fused(team, job, to);
  }
  if (update) constraints_.apply(team, to.w);
}

// In a trial each gradient is looked at, so none goes straight into the weights.
template <class T> void Update<T>::run_fused(Team& team, const BatchJob<T>& job, const Weights<T>& to) {
  T* scratch = work_.scratch[at(team.rank)].data();
  T* g = tile_gradient(team.rank);
  const Rows mine = tiles_.of(team.rank, team.size);
  const bool relay = relay_.runs(team), trial = &to != &trial_.own();
  // Then the weights of a relay are this thread's alone until the relay is passed on.
  const bool leaves_early = relay && !trial && !penalties_.any() && !constraints_.any();
  Rows next{0, 0};
  if (!relay) {
    const Rows batch = next_batch(job, team.size), share = split(batch.count(), team.rank, team.size);
    next = {batch.begin + share.begin, batch.begin + share.end};
  }
  const std::int64_t tiles = std::max<std::int64_t>(mine.count(), 1), a_tile = (next.count() + tiles - 1) / tiles;
  const std::int64_t n = job.rows.count();
  for (Rows left = mine; left.count() > 0;) {
    // A relay's own tiles are the first ones, and come last: the others are waited for.
    const bool other = relay && tiles_[left.end - 1].param != relay_.param();
    if (touched_.has(tiles_[other ? left.end - 1 : left.begin].param)) {
      const Rows run = touched_run(left, other);
      (other ? left.end : left.begin) = other ? run.begin : run.end;
      run_touched(run, team, n, to);
      continue;
    }
    const std::int64_t end = trial ? left.begin + 1 : end_of_run(left.begin, left.end, n);
    const Rows run = other ? Rows{left.end - 1, left.end} : Rows{left.begin, end};
    (other ? left.end : left.begin) = other ? run.begin : run.end;
    const OwnedTile& tile = tiles_[run.begin];
    if (leaves_early && tile.param == relay_.param()) team.arrive();
    if (team.size > 1 && !relay) prefetch_weights(tile);
    for (std::int64_t rows = std::min(a_tile * run.count(), next.count()); rows > 0; --rows) {
      const std::int64_t row = job.order[next.begin++];
      for (const RowReader<T>& reader : job.source->xs) reader.prefetch(row, {0, reader.row_size()});
    }
    if (!trial && in_place(tile.param, n)) {
      run_in_place(run, team, n, scratch);
      continue;
    }
    accumulate(run.begin, team, n, false, g, scratch);
    if (trial) look_at(run.begin, g);
    clip(g, tile.size(), 1);
    if (work_.config->has_optimizer) apply(run.begin, g, to);
  }
}

template <class T> void Update<T>::collect(Team& team, const BatchJob<T>& job, bool looks) {
  const Rows mine = tiles_.of(team.rank, team.size);
  T* scratch = work_.scratch[at(team.rank)].data();
  const bool doubtful = work_.doubtful.load(std::memory_order_relaxed);
  for (std::int64_t t = mine.begin; t < mine.end; ++t) {
    const OwnedTile& tile = tiles_[t];
    T* g = gradients_.data() + tile.offset;
    const bool by_rows = touched_.has(tile.param);
    if (by_rows && job.rows.count() > 0 && (t == mine.begin || tiles_[t - 1].param != tile.param)) {
      collect_touched(touched_run({t, mine.end}, false), team, job);
    } else if (!by_rows && job.rows.count() > 0) {
      accumulate(t, team, job.rows.count(), job.add_gradients, g, scratch);
    }
    if (by_rows && !touched_.dirty(t)) {
      tile_norm_[at(t)] = 0;
      continue;
    }
    if (looks && !(static_cast<double>(kernels<T>().max_abs(g, tile.size())) <= kCalm<T>)) work_.doubt();
    if (looks || doubtful) look_at(t, g);
    if (!job.update || !work_.config->has_optimizer) continue;
    clip(g, tile.size(), job.gradient_scale);
    tile_norm_[at(t)] = clips_norm() ? kernels<T>().sum_squares(g, tile.size()) : 0;
  }
}

template <class T> void Update<T>::scale_collected(const Team& team) {
  const Rows mine = tiles_.of(team.rank, team.size);
  const double scale = clips_norm() ? norm_scale() : 1;
  if (scale == 1) return;
  for (std::int64_t t = mine.begin; t < mine.end; ++t) {
    if (touched_.has(tiles_[t].param) && !touched_.dirty(t)) continue;
    kernels<T>().scale(static_cast<T>(scale), gradients_.data() + tiles_[t].offset, tiles_[t].size());
  }
}

template <class T> void Update<T>::apply_collected(const Team& team, const Weights<T>& to) {
  const Rows mine = tiles_.of(team.rank, team.size);
  for (std::int64_t t = mine.begin; t < mine.end; ++t) {
    const OwnedTile& tile = tiles_[t];
    const T* g = gradients_.data() + tile.offset;
    if (!touched_.has(tile.param) || !touched_.leaves_rest(tile.param)) {
      apply(t, g, to);
    } else if (touched_.dirty(t)) {
      apply_touched(t, g, to);
    }
  }
}

// clip_norm / ||g|| if the global norm is over clip_norm; the tiles' sums are added in order on every thread.
template <class T> double Update<T>::norm_scale() {
  double sum = 0;
  for (double part : tile_norm_) sum += part;
  const double norm = std::sqrt(sum);
  if (!std::isfinite(norm)) work_.flaw();  // in a trial: no sum of calm gradients overflows
  return norm > work_.config->clip_norm ? work_.config->clip_norm / norm : 1;
}

// ---- gradients of the caller's --------------------------------------------------------------------------------------

template <class T> void Update<T>::add_gradients(Team& team, std::int64_t n, const std::vector<T*>& to) {
  const Rows mine = tiles_.of(team.rank, team.size);
  T* scratch = work_.scratch[at(team.rank)].data();
  const bool doubtful =
      work_.doubtful.load(std::memory_order_relaxed) || work_.unbounded.load(std::memory_order_relaxed);
  const bool before = long_ || doubtful;
  if (doubtful) {
    if (team.rank == 0) make_gradients();
    team.barrier();
  }
  if (before) {  // all of them first: an interrupt, or one that is not finite, leaves no part of the sums behind
    for (std::int64_t t = mine.begin; t < mine.end; ++t) {
      accumulate(t, team, n, false, gradients_.data() + tiles_[t].offset, scratch);
      if (touched_.has(tiles_[t].param)) touched_.mark_all(t);
      if (doubtful) look_at(t, gradients_.data() + tiles_[t].offset);
    }
    team.barrier();
    if (work_.flawed.load(std::memory_order_relaxed)) return;
  }
  for (std::int64_t t = mine.begin; t < mine.end; ++t) {
    T* g = before ? gradients_.data() + tiles_[t].offset : tile_gradient(team.rank);
    if (!before) accumulate(t, team, n, false, g, scratch);
    each_run(tiles_[t], work_.param(tiles_[t].param),
             [&](std::int64_t at_param, std::int64_t at_tile, std::int64_t size) {
               kernels<T>().axpy(T(1), g + at_tile, to[at(tiles_[t].param)] + at_param, size);
             });
  }
}

template <class T> void Update<T>::take_gradients(Team& team, const std::vector<const T*>& from) {
  const Rows mine = tiles_.of(team.rank, team.size);
  for (std::int64_t t = mine.begin; t < mine.end; ++t) {
    const OwnedTile& tile = tiles_[t];
    T* g = gradients_.data() + tile.offset;
    each_run(tile, work_.param(tile.param), [&](std::int64_t at_param, std::int64_t at_tile, std::int64_t size) {
      std::copy_n(from[at(tile.param)] + at_param, size, g + at_tile);
    });
    if (touched_.has(tile.param)) touched_.mark_nonzero(t, g);
    if (!(static_cast<double>(kernels<T>().max_abs(g, tile.size())) <= kCalm<T>)) work_.doubt();
    if (penalties_.trained()) penalties_.add(at(t), tile.param, tile, g);
  }
}

template <class T> NonFinite Update<T>::flaw() const {
  if (preconditioner_ != nullptr && !preconditioner_->flaw().empty()) return {preconditioner_->flaw(), "curvature"};
  const std::int64_t bad = bad_tile_.load(std::memory_order_relaxed);
  if (bad < tiles_.count()) return {layer_of(tiles_[bad].param), "gradient"};
  if (const int p = trial_.bad_statistics(); p >= 0) return {layer_of(p), "statistics"};
  for (const OwnedTile& tile : tiles_.all()) {
    if (!trial_.is_finite(tile.param)) return {layer_of(tile.param), "update"};
  }
  return {"", "gradient"};  // their norm
}

template <class T> std::string Update<T>::layer_of(int param) const {
  for (const NodeSpec<T>& node : work_.graph->nodes) {
    if (std::find(node.params.begin(), node.params.end(), param) != node.params.end()) return node.name;
  }
  return work_.param(param).name;
}

template <class T> void Update<T>::copy_gradient(int param, T* to) const {
  const std::int64_t width = work_.param(param).row_size();
  for (const OwnedTile& tile : tiles_.all()) {
    if (tile.param != param) continue;
    const T* from = gradients_.data() + tile.offset;
    for (std::int64_t row = tile.rows.begin; row < tile.rows.end; ++row, from += tile.columns.count()) {
      std::copy_n(from, tile.columns.count(), to + row * width + tile.columns.begin);
    }
  }
}

template class Update<float>;
template class Update<double>;

}  // namespace bp
