#include "train/step.h"

#include <algorithm>
#include <cmath>

#include "plan/inference.h"

namespace bp {
namespace {

// A tile's gradient, its weights and the optimizer's slots should fit the level-2 cache together: 4 x 32 KB of floats. But
// a tile of few rows starves the matrix kernel, which wants two register tiles of up to 14 rows.
constexpr std::int64_t kTileElements = 8192;
constexpr std::int64_t kTileRows = 28;

std::size_t at(int i) { return static_cast<std::size_t>(i); }

}  // namespace

template <class T>
TrainingStep<T>::TrainingStep(std::shared_ptr<const Graph<T>> graph, std::shared_ptr<const StepConfig<T>> config,
                              bool wrt_inputs)
    : graph_(std::move(graph)), config_(std::move(config)) {
  std::vector<int> targets, losses;
  for (const BoundLoss<T>& loss : config_->losses) {
    targets.push_back(loss.prediction);
    losses.push_back(loss.prediction);
    if (!config_->fuse) targets.push_back(loss.output);
  }
  PlanOptions options;
  options.training = true;
  options.fuse = config_->fuse;
  options.wrt_inputs = wrt_inputs;
  plan_ = std::make_shared<Plan<T>>(graph_, targets, losses, options);
  outputs_.resize(config_->losses.size());
  build_calls();
  build_tiles();
  if (config_->clip_norm > 0 || config_->accumulate_steps > 1) materialise();
}

template <class T> void TrainingStep<T>::build_calls() {
  const auto& steps = plan_->steps();
  calls_.push_back({Phase::kGather, 0, false});
  for (std::size_t s = 0; s < steps.size(); ++s) {
    calls_.push_back({Phase::kForward, static_cast<int>(s), steps[s].op->partition() == Partition::kWhole});
  }
  std::vector<int> seen;
  for (std::size_t k = 0; k < config_->losses.size(); ++k) {
    const int root = plan_->root(config_->losses[k].prediction);
    outputs_[k].adds_delta = std::find(seen.begin(), seen.end(), root) != seen.end();
    seen.push_back(root);
    calls_.push_back({Phase::kLoss, static_cast<int>(k), config_->losses[k].config.callback != nullptr});
  }
  for (std::size_t s = steps.size(); s-- > 0;) {
    if (!steps[s].backward) continue;
    calls_.push_back({Phase::kBackward, static_cast<int>(s), steps[s].op->partition() == Partition::kWhole});
  }
}

template <class T> void TrainingStep<T>::build_tiles() {
  std::int64_t offset = 0;
  for (std::size_t p = 0; p < graph_->params.size(); ++p) {
    const ParameterView<T>& param = graph_->params[p];
    gradient_offset_.push_back(offset);
    if (!param.trainable) continue;
    offset += align_up<T>(size_of(param.shape));
    const std::int64_t row = std::max<std::int64_t>(param.row_size(), 1);
    const std::int64_t rows = row == 1 ? kTileElements : std::max(kTileRows, kTileElements / row / kTileRows * kTileRows);
    for (std::int64_t begin = 0; begin < param.rows(); begin += rows) {
      const Rows range{begin, std::min(begin + rows, param.rows())};
      tiles_.push_back({static_cast<int>(p), range, begin * row, range.count() * row});
      tile_middle_.push_back(elements_ + tiles_.back().size / 2);
      elements_ += tiles_.back().size;
    }
  }
  tile_norm_.assign(tiles_.size(), 0.0);
}

template <class T> void TrainingStep<T>::materialise() {
  if (gradients_.size() > 0) return;
  std::int64_t total = 0;
  for (const ParameterView<T>& param : graph_->params) total += param.trainable ? align_up<T>(size_of(param.shape)) : 0;
  gradients_ = Buffer<T>(std::max<std::int64_t>(total, 1));
}

template <class T> const T* TrainingStep<T>::parameter_gradient(int param) const {
  return graph_->params[at(param)].trainable ? gradients_.data() + gradient_offset_[at(param)] : nullptr;
}

template <class T> void TrainingStep<T>::reserve(std::int64_t n, int threads) {
  if (n > capacity_) {
    frame_ = std::make_unique<Frame<T>>(plan_, n);
    for (std::size_t k = 0; k < outputs_.size(); ++k) {
      const BoundLoss<T>& loss = config_->losses[k];
      const std::int64_t rows = checked_mul(n, loss.positions), size = checked_mul(rows, loss.width);
      OutputArrays& out = outputs_[k];
      out.target = Buffer<T>(size);
      out.label = Buffer<std::int32_t>(rows);
      out.weight = Buffer<T>(n);
      out.row_weight = Buffer<T>(rows);
      out.row_loss = Buffer<T>(rows);
      if (out.adds_delta || frame_->gradient(loss.prediction) == nullptr) out.delta = Buffer<T>(size);
      if (config_->needs_values[k] && loss.link != Link::kNone) out.values = Buffer<T>(size);
    }
    std::int64_t most = plan_->scratch_size(kRowBlock, n);
    for (const Tile& tile : tiles_) {
      for (const ParameterUse& use : plan_->uses(tile.param)) {
        const auto& op = plan_->steps()[at(use.step)].op;
        most = std::max(most, op->accumulate_scratch(use.slot, tile.rows.count(), n));
      }
    }
    scratch_size_ = align_up<T>(most);
    scratch_.clear();
    capacity_ = n;
  }
  std::int64_t tile = 0;
  for (const Tile& t : tiles_) tile = std::max(tile, t.size);
  while (static_cast<int>(scratch_.size()) < threads) scratch_.emplace_back(scratch_size_ + tile);
}

// ---- forward, loss, backward ----------------------------------------------------------------------------------------

template <class T> void TrainingStep<T>::phase_one(Team& team, const BatchJob<T>& job) {
  T* scratch = scratch_[at(team.rank)].data();
  const std::int64_t n = job.rows.count();
  const Rows mine = split(n, team.rank, team.size);
  std::size_t end = calls_.size();
  while (!job.training && end > 0 && calls_[end - 1].phase == Phase::kBackward) --end;
  for (std::size_t first = 0; first < end;) {
    if (calls_[first].whole) {
      team.barrier();
      if (team.rank == 0) call(calls_[first], {0, n}, job, scratch);
      team.barrier();
      ++first;
      continue;
    }
    std::size_t last = first;
    while (last < end && !calls_[last].whole) ++last;
    for (Rows block{mine.begin, mine.begin}; block.begin < mine.end; block.begin = block.end) {
      block.end = std::min(block.begin + kRowBlock, mine.end);
      for (std::size_t c = first; c < last; ++c) call(calls_[c], block, job, scratch);
    }
    first = last;
  }
}

template <class T>
void TrainingStep<T>::call(const Call& call, Rows rows, const BatchJob<T>& job, T* scratch) {
  switch (call.phase) {
    case Phase::kGather: return gather(rows, job);
    case Phase::kForward: return frame_->forward(at(call.index), rows, scratch);
    case Phase::kLoss: return loss(at(call.index), rows, job);
    case Phase::kBackward: break;
  }
  frame_->backward(at(call.index), rows, scratch);
  const Step<T>& step = plan_->steps()[at(call.index)];
  if (step.params.empty()) return;
  const std::int64_t size = size_of(step.op->shape);
  if (!kernels<T>().all_finite(frame_->gradient(step.output) + rows.begin * size, rows.count() * size)) {
    flawed_.store(true, std::memory_order_relaxed);
  }
}

template <class T> void TrainingStep<T>::gather(Rows rows, const BatchJob<T>& job) {
  const BatchSource<T>& source = *job.source;
  const Rows from{job.rows.begin + rows.begin, job.rows.begin + rows.end};
  for (std::size_t k = 0; k < source.xs.size(); ++k) {
    const int input = graph_->inputs[k];
    if (!plan_->computed(input)) continue;
    source.xs[k].read(job.order, from, frame_->value(input) + rows.begin * source.xs[k].row_size());
  }
  for (std::size_t k = 0; k < outputs_.size(); ++k) {
    OutputArrays& out = outputs_[k];
    const BoundLoss<T>& loss = config_->losses[k];
    if (const std::int32_t* label = source.ys[k].label; label != nullptr) {
      for (std::int64_t r = rows.begin; r < rows.end; ++r) {
        const std::int64_t row = job.rows.begin + r;
        std::copy_n(label + (job.order == nullptr ? row : job.order[row]) * loss.positions, loss.positions,
                    out.label.data() + r * loss.positions);
      }
    } else {
      source.ys[k].dense.read(job.order, from, out.target.data() + rows.begin * loss.positions * loss.width);
    }
    if (source.weights[k].row_size() == 0) continue;
    source.weights[k].read(job.order, from, out.weight.data() + rows.begin);
    for (std::int64_t r = rows.begin; r < rows.end; ++r) {
      std::fill_n(out.row_weight.data() + r * loss.positions, loss.positions, out.weight[r]);
    }
  }
}

template <class T> OutputBatch<T> TrainingStep<T>::output(std::size_t k, std::int64_t n) {
  const BoundLoss<T>& bound = config_->losses[k];
  OutputArrays& out = outputs_[k];
  const T* prediction = out.values.size() > 0 ? out.values.data() : frame_->value(bound.prediction);
  return {n, bound.positions, bound.width, prediction, out.labelled ? nullptr : out.target.data(),
          out.labelled ? out.label.data() : nullptr, out.weighted ? out.weight.data() : nullptr};
}

template <class T> void TrainingStep<T>::loss(std::size_t k, Rows rows, const BatchJob<T>& job) {
  const BoundLoss<T>& bound = config_->losses[k];
  OutputArrays& out = outputs_[k];
  const std::int64_t offset = rows.begin * bound.positions, n = rows.count() * bound.positions;
  T* gradient = frame_->gradient(bound.prediction);
  T* delta = job.training && gradient != nullptr ? (out.adds_delta ? out.delta.data() : gradient) : nullptr;
  const bool weighted = job.source->weights[k].row_size() > 0;
  const bool labelled = job.source->ys[k].label != nullptr;
  if (bound.config.callback != nullptr) {
    bound.config.callback->run(output(k, rows.count()), out.row_loss.data(), delta);
    if (delta != nullptr && bound.config.weight != 1) {
      kernels<T>().scale(static_cast<T>(bound.config.weight), delta, n * bound.width);
    }
  } else {
    LossArgs<T> args{};
    args.rows = n;
    args.n = bound.width;
    args.prediction = frame_->value(bound.prediction) + offset * bound.width;
    args.target = labelled ? nullptr : out.target.data() + offset * bound.width;
    args.label = labelled ? out.label.data() + offset : nullptr;
    args.weight = weighted ? out.row_weight.data() + offset : nullptr;
    args.row_loss = out.row_loss.data() + offset;
    args.delta = delta == nullptr ? nullptr : delta + offset * bound.width;
    args.scale = static_cast<T>(bound.config.weight / static_cast<double>(job.rows.count() * bound.positions));
    args.option = static_cast<T>(bound.config.option);
    kernels<T>().loss[static_cast<int>(bound.config.kind)](args);
  }
  if (delta != nullptr && out.adds_delta) {
    kernels<T>().axpy(T(1), delta + offset * bound.width, gradient + offset * bound.width, n * bound.width);
  }
  if (!kernels<T>().all_finite(out.row_loss.data() + offset, n)) flawed_.store(true, std::memory_order_relaxed);
  if (out.values.size() > 0) link_values(k, rows);
}

// What predict() would return, for the metrics that need it.
template <class T> void TrainingStep<T>::link_values(std::size_t k, Rows rows) {
  const BoundLoss<T>& bound = config_->losses[k];
  const std::int64_t offset = rows.begin * bound.positions * bound.width, count = rows.count() * bound.positions;
  const T* z = frame_->value(bound.prediction) + offset;
  T* y = outputs_[k].values.data() + offset;
  switch (bound.link) {
    case Link::kSoftmax: kernels<T>().softmax(z, y, count, bound.width); break;
    case Link::kLogSoftmax: kernels<T>().log_softmax(z, y, count, bound.width); break;
    default: kernels<T>().activate[static_cast<int>(Activation::kSigmoid)](z, y, count * bound.width, T(0));
  }
}

// ---- accumulate, update ---------------------------------------------------------------------------------------------

// A tile belongs to the thread whose share of the elements holds its middle.
template <class T> Rows TrainingStep<T>::my_tiles(const Team& team) const {
  const auto first_in = [&](std::int64_t element) {
    return std::lower_bound(tile_middle_.begin(), tile_middle_.end(), element) - tile_middle_.begin();
  };
  const Rows share = split(elements_, team.rank, team.size);
  return {first_in(share.begin), first_in(share.end)};
}

template <class T> void TrainingStep<T>::accumulate(const Tile& tile, std::int64_t n, bool add, T* g, T* scratch) {
  bool adds = add;
  for (const ParameterUse& use : plan_->uses(tile.param)) {
    const Step<T>& step = plan_->steps()[at(use.step)];
    step.op->accumulate(frame_->io(at(use.step)), use.slot, tile.rows, n, g, adds, scratch);
    adds = true;
  }
  if (!adds) std::fill_n(g, tile.size, T(0));  // no way from this parameter to a loss
}

template <class T> void TrainingStep<T>::clip(T* g, std::int64_t n, double scale) {
  if (scale != 1) kernels<T>().scale(static_cast<T>(scale), g, n);
  if (config_->clip_value <= 0) return;
  const T limit = static_cast<T>(config_->clip_value);
  for (std::int64_t i = 0; i < n; ++i) g[i] = g[i] > limit ? limit : g[i] < -limit ? -limit : g[i];
}

template <class T> void TrainingStep<T>::apply(const Tile& tile, const T* g) {
  UpdateArgs<T> args{};
  args.n = tile.size;
  args.w = graph_->params[at(tile.param)].value + tile.offset;
  args.g = g;
  const auto& slots = config_->slots[at(tile.param)];
  for (std::size_t s = 0; s < slots.size(); ++s) args.slot[s] = slots[s] + tile.offset;
  args.hyper = hyper_;
  kernels<T>().update[static_cast<int>(config_->optimizer.kind)](args);
}

template <class T> void TrainingStep<T>::update_fused(Team& team, const BatchJob<T>& job) {
  T* scratch = scratch_[at(team.rank)].data();
  T* g = scratch + scratch_size_;
  const Rows mine = my_tiles(team);
  for (std::int64_t t = mine.begin; t < mine.end; ++t) {
    const Tile& tile = tiles_[static_cast<std::size_t>(t)];
    accumulate(tile, job.rows.count(), false, g, scratch);
    clip(g, tile.size, 1);
    if (job.update) apply(tile, g);
  }
}

template <class T> void TrainingStep<T>::update_materialised(Team& team, const BatchJob<T>& job) {
  const Rows mine = my_tiles(team);
  const bool update = job.update && config_->has_optimizer;
  for (std::int64_t t = mine.begin; t < mine.end; ++t) {
    const Tile& tile = tiles_[static_cast<std::size_t>(t)];
    T* g = gradients_.data() + gradient_offset_[at(tile.param)] + tile.offset;
    accumulate(tile, job.rows.count(), job.add_gradients, g, scratch_[at(team.rank)].data());
    if (!update) continue;
    clip(g, tile.size, job.gradient_scale);
    tile_norm_[static_cast<std::size_t>(t)] = config_->clip_norm > 0 ? kernels<T>().sum_squares(g, tile.size) : 0;
  }
  if (!update) return;
  if (config_->clip_norm > 0) team.barrier();
  const double scale = config_->clip_norm > 0 ? norm_scale() : 1;
  for (std::int64_t t = mine.begin; t < mine.end; ++t) {
    const Tile& tile = tiles_[static_cast<std::size_t>(t)];
    T* g = gradients_.data() + gradient_offset_[at(tile.param)] + tile.offset;
    if (scale != 1) kernels<T>().scale(static_cast<T>(scale), g, tile.size);
    apply(tile, g);
  }
}

// clip_norm / ||g|| if the global norm is over clip_norm; the tiles' sums are added in order on every thread.
template <class T> double TrainingStep<T>::norm_scale() const {
  double sum = 0;
  for (double part : tile_norm_) sum += part;
  const double norm = std::sqrt(sum);
  return norm > config_->clip_norm ? config_->clip_norm / norm : 1;
}

// ---- words ----------------------------------------------------------------------------------------------------------

template <class T> std::string TrainingStep<T>::first_flaw(std::int64_t n, std::int64_t* row) {
  const auto scan = [&](const T* x, std::int64_t size) {
    for (std::int64_t r = 0; x != nullptr && r < n; ++r) {
      if (kernels<T>().all_finite(x + r * size, size)) continue;
      *row = r;
      return true;
    }
    return false;
  };
  for (int input : graph_->inputs) {
    if (plan_->computed(input) && scan(value(input), graph_->size(input))) return "the input";
  }
  for (const Step<T>& step : plan_->steps()) {
    if (scan(value(step.output), graph_->size(step.output))) return "the output of layer '" + step.name + "'";
  }
  for (std::size_t k = 0; k < outputs_.size(); ++k) {
    if (scan(outputs_[k].row_loss.data(), config_->losses[k].positions)) return "the loss";
  }
  const auto& steps = plan_->steps();
  for (std::size_t s = steps.size(); s-- > 0;) {
    if (steps[s].backward && scan(gradient(steps[s].output), graph_->size(steps[s].output))) {
      return "the gradient at layer '" + steps[s].name + "'";
    }
  }
  *row = -1;
  return "the loss";
}

template <class T> std::string TrainingStep<T>::describe(std::int64_t n) const {
  std::string text = plan_->describe();
  for (const BoundLoss<T>& loss : config_->losses) text += "  loss: " + bp::describe(loss) + "\n";
  text += gradients_.size() > 0 ? "  gradients: materialised (clipping, accumulation, or asked for)\n"
                                : "  gradients: tile by tile, fused with the optimizer's update\n";
  text += "  tiles of parameters: " + std::to_string(tiles_.size()) + ", barriers a step: 2";
  text += plan_->whole_batch() ? " and two for each layer in Python\n" : "\n";
  text += "  threads at batch " + std::to_string(n) + ": " + std::to_string(threads_for(3 * plan_->flops() * n)) + "\n";
  if (frame_ != nullptr) text += "  arena: " + std::to_string(bytes()) + " bytes\n";
  return text;
}

template class TrainingStep<float>;
template class TrainingStep<double>;

}  // namespace bp
