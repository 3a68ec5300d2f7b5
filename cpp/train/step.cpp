#include "train/step.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "plan/inference.h"

namespace bp {
namespace {

constexpr std::int64_t kElementsPerThread = 64 << 10;  // Adam takes 12 us for them

std::size_t at(int i) { return static_cast<std::size_t>(i); }

}  // namespace

template <class T>
TrainingStep<T>::TrainingStep(std::shared_ptr<const Graph<T>> graph, std::shared_ptr<const StepConfig<T>> config,
                              bool wrt_inputs)
    : graph_(std::move(graph)), config_(std::move(config)), hyper_(config_->optimizer, config_->groups),
      penalties_(*graph_, config_->penalties), constraints_(*graph_, config_->constraints) {
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
  find_relay();
  build_tiles();
  plan_relay();
  penalties_.set_tiles(tiles_.size());
  if (config_->clip_norm > 0 || config_->accumulate_steps > 1) materialise();
}

template <class T> void TrainingStep<T>::build_calls() {
  const auto& steps = plan_->steps();
  calls_.push_back({Phase::kGather, 0, Partition::kRows});
  for (std::size_t s = 0; s < steps.size(); ++s) {
    calls_.push_back({Phase::kForward, static_cast<int>(s), steps[s].op->partition(true)});
  }
  std::vector<int> seen;
  for (std::size_t k = 0; k < config_->losses.size(); ++k) {
    const int root = plan_->root(config_->losses[k].prediction);
    outputs_[k].adds_delta = std::find(seen.begin(), seen.end(), root) != seen.end();
    seen.push_back(root);
    calls_.push_back({Phase::kLoss, static_cast<int>(k),
                      config_->losses[k].config.callback != nullptr ? Partition::kWhole : Partition::kRows});
  }
  for (std::size_t s = steps.size(); s-- > 0;) {
    if (!steps[s].backward) continue;
    const Partition partition = steps[s].op->partition(true);
    if (by_columns(partition)) calls_.push_back({Phase::kPrepare, static_cast<int>(s), Partition::kRows});
    calls_.push_back({Phase::kBackward, static_cast<int>(s), partition});
  }
}

template <class T> void TrainingStep<T>::materialise() {
  if (gradients_.size() == 0) gradients_ = Buffer<T>(std::max<std::int64_t>(gradient_size_, 1));
}

template <class T> void TrainingStep<T>::copy_gradient(int param, T* to) const {
  const std::int64_t width = graph_->params[at(param)].row_size();
  for (const OwnedTile& tile : tiles_) {
    if (tile.param != param) continue;
    const T* from = gradients_.data() + tile.offset;
    for (std::int64_t row = tile.rows.begin; row < tile.rows.end; ++row, from += tile.columns.count()) {
      std::copy_n(from, tile.columns.count(), to + row * width + tile.columns.begin);
    }
  }
}

template <class T> int TrainingStep<T>::threads(std::int64_t n, bool training) const {
  const std::int64_t flops = (training ? 3 : 1) * plan_->flops() * n;  // backward and accumulate: as much as forward, each
  const int by_work = threads_for(flops);
  if (plan_->mostly_by_columns()) return by_work;
  // Few samples, but many weights: the update is divided whatever the samples are.
  const auto by_update = static_cast<int>(training ? std::min<std::int64_t>(elements_ / kElementsPerThread, by_work) : 0);
  return std::max(threads_for(flops, n), by_update);
}

// The frame and the scratch for batches of n samples.
template <class T> void TrainingStep<T>::make_room(std::int64_t n, std::int64_t spare) {
  frame_ = std::make_unique<Frame<T>>(plan_, n, spare);
  for (std::size_t k = 0; k < outputs_.size(); ++k) {
    const BoundLoss<T>& loss = config_->losses[k];
    const std::int64_t rows = checked_mul(n, loss.positions), size = checked_mul(rows, loss.width);
    OutputArrays& out = outputs_[k];
    out.target = Buffer<T>(checked_mul(rows, loss.target_width));
    out.label = Buffer<std::int32_t>(rows);
    out.weight = Buffer<T>(n);
    out.row_weight = Buffer<T>(rows);
    out.row_loss = Buffer<T>(rows);
    if (out.adds_delta) out.delta = Buffer<T>(size);
    const bool differs = loss.link != Link::kNone || loss.target_width != loss.width;
    if (config_->needs_values[k] && differs) out.values = Buffer<T>(out.target.size());
  }
  std::int64_t most = plan_->scratch_size(kRowBlock, n);
  for (const Step<T>& step : plan_->steps()) {
    if (by_columns(step.op->partition(true))) most = std::max(most, step.op->columns_scratch(n));
  }
  for (const OwnedTile& tile : tiles_) {
    if (tile.rows.begin > 0 && tile.rows.end < graph_->params[at(tile.param)].rows()) continue;  // like the first tile
    for (const ParameterUse& use : plan_->uses(tile.param)) most = std::max(most, accumulate_scratch(tile, use, n));
  }
  most = std::max(most, descend_scratch(n));
  most = std::max(most, relay_scratch());
  scratch_size_ = align_up<T>(most);
  scratch_.clear();
  tile_gradient_.clear();
  capacity_ = n;
  spare_ = spare;
}

template <class T>
void TrainingStep<T>::prepare(const BatchSource<T>& source, std::int64_t n, int threads, bool training,
                              std::uint64_t draw) {
  // A step that ended by an exception may have left them set.
  flawed_.store(false, std::memory_order_relaxed);
  for (Passed& passed : passed_) passed.blocks.store(0, std::memory_order_relaxed);
  const bool relays = training && relay_pays(threads, n) && source.xs[at(relay_.input)].has_columns();
  relay_.threads = relays ? threads : 0;
  const std::int64_t spare = relays ? relay_spare() : 0;
  if (n > capacity_ || spare > spare_) make_room(std::max(n, capacity_), std::max(spare, spare_));
  std::int64_t tile = 0;
  for (const OwnedTile& t : tiles_) {
    if (capacity_ > t.in_place) tile = std::max(tile, t.size());
  }
  while (static_cast<int>(scratch_.size()) < threads) {
    scratch_.emplace_back(scratch_size_, kUnwritten);
    tile_gradient_.emplace_back(tile, kUnwritten);
  }
  frame_->set_training(training);
  frame_->set_draw(draw);
  for (std::size_t k = 0; k < outputs_.size(); ++k) {
    outputs_[k].labelled = source.ys[k].label != nullptr;
    outputs_[k].weighted = source.weights[k].row_size() > 0;
  }
  if (relays) lay_relay();
}

// A smaller batch may need more scratch than a larger one (block sizes are rounded), so every size up to n is asked, by
// steps where a block of several chunks has long been reached.
template <class T>
std::int64_t TrainingStep<T>::accumulate_scratch(const OwnedTile& tile, const ParameterUse& use, std::int64_t n) const {
  const auto& op = plan_->steps()[at(use.step)].op;
  std::int64_t most = op->accumulate_scratch(use.slot, tile, n);
  for (std::int64_t m = 1; m < n; m += m < 4 * kBatchChunk ? 1 : kBatchChunk) {
    most = std::max(most, op->accumulate_scratch(use.slot, tile, m));
  }
  return most;
}

// ---- forward, loss, backward ----------------------------------------------------------------------------------------

template <class T> void TrainingStep<T>::phase_one(Team& team, const BatchJob<T>& job) {
  T* scratch = scratch_[at(team.rank)].data();
  const std::int64_t n = job.rows.count();
  Rows mine = split(n, team.rank, team.size);
  const auto by_rows = [&](const Call& call) {
    return call.partition == Partition::kRows || (call.partition == Partition::kColumns && team.size == 1);
  };
  std::size_t end = calls_.size();
  while (!job.training && end > 0 && calls_[end - 1].phase > Phase::kLoss) --end;
  std::size_t first = 0;
  const bool relay = relay_.threads > 0;
  if (relay) {
    mine = forward_relay(team, job, scratch);
    first = 2;  // the gather and the first step
  }
  while (first < end) {
    if (!by_rows(calls_[first])) {
      team.barrier();
      if (by_columns(calls_[first].partition)) {
        call_columns(calls_[first], n, team, scratch);
      } else if (team.rank == 0) {
        call(calls_[first], {0, n}, job, scratch);
      }
      const bool another = first + 1 < end && !by_rows(calls_[first + 1]);
      if (!another) team.barrier();
      ++first;
      continue;
    }
    std::size_t last = first;
    while (last < end && by_rows(calls_[last])) ++last;
    for (Rows block{mine.begin, mine.begin}; block.begin < mine.end; block.begin = block.end) {
      block.end = std::min(block.begin + kRowBlock, mine.end);
      for (std::size_t c = first; c < last; ++c) call(calls_[c], block, job, scratch);
    }
    first = last;
  }
  if (relay && team.rank == 0) prefetch_relay(team, job);
}

template <class T>
void TrainingStep<T>::call(const Call& call, Rows rows, const BatchJob<T>& job, T* scratch) {
  if (call.phase == Phase::kGather) return gather(rows, job);
  if (call.phase == Phase::kLoss) return loss(at(call.index), rows, job);
  if (call.phase == Phase::kForward) return frame_->forward(at(call.index), rows, scratch);
  const Step<T>& step = plan_->steps()[at(call.index)];
  if (call.phase == Phase::kPrepare) {
    step.op->prepare_backward(frame_->io(at(call.index)), rows);
    return check_delta(at(call.index), rows, job.rows.count());
  }
  if (call.partition == Partition::kColumns) {  // one thread: all columns of these rows
    step.op->backward_columns(frame_->io(at(call.index)), rows, {0, step.op->columns_backward()}, scratch);
    return;
  }
  frame_->backward(at(call.index), rows, scratch);
  check_delta(at(call.index), rows, job.rows.count());
}

// All rows, a thread's share of the columns, cut where vectors end.
template <class T>
void TrainingStep<T>::call_columns(const Call& call, std::int64_t n, const Team& team, T* scratch) {
  const Op<T>& op = *plan_->steps()[at(call.index)].op;
  const bool forward = call.phase == Phase::kForward;
  const std::int64_t all = forward ? op.columns_forward() : op.columns_backward();
  const Rows columns = split_columns(all, team.rank, team.size);
  if (columns.count() == 0) return;
  if (forward) {
    op.forward_columns(frame_->io(at(call.index)), {0, n}, columns, scratch);
  } else {
    op.backward_columns(frame_->io(at(call.index)), {0, n}, columns, scratch);
  }
}

// Delta is finite, and x^T delta will be: |dw| <= max |x| max |delta| (samples in the batch). A delta of at most 1 could
// only overflow with data beyond any use, so x is looked at only for the others.
template <class T> bool TrainingStep<T>::sound_delta(std::size_t s, Rows rows, std::int64_t batch) {
  const Step<T>& step = plan_->steps()[s];
  if (step.params.empty()) return true;
  const std::int64_t size = size_of(step.op->shape);
  const T most = kernels<T>().max_abs(frame_->gradient(step.output) + rows.begin * size, rows.count() * size);
  bool sound = most <= std::numeric_limits<T>::max();
  for (std::size_t i = 0; sound && most > T(1) && i < step.inputs.size(); ++i) {
    const double bound = static_cast<double>(largest_input(s, i, rows)) * static_cast<double>(batch) *
                         static_cast<double>(std::max(graph_->size(step.inputs[i]), size));
    sound = static_cast<double>(most) <= static_cast<double>(std::numeric_limits<T>::max()) / bound || bound == 0;
  }
  return sound;
}

template <class T> void TrainingStep<T>::check_delta(std::size_t s, Rows rows, std::int64_t batch) {
  if (!sound_delta(s, rows, batch)) flawed_.store(true, std::memory_order_relaxed);
}

// The batch's samples, but for one of the inputs.
template <class T> void TrainingStep<T>::gather(Rows rows, const BatchJob<T>& job, int but) {
  const BatchSource<T>& source = *job.source;
  const Rows from{job.rows.begin + rows.begin, job.rows.begin + rows.end};
  for (std::size_t k = 0; k < source.xs.size(); ++k) {
    const int input = graph_->inputs[k];
    if (!plan_->computed(input) || static_cast<int>(k) == but) continue;
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
      source.ys[k].dense.read(job.order, from, out.target.data() + rows.begin * loss.positions * loss.target_width);
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
  const T* value = frame_->value(bound.prediction);
  const T* point = out.values.size() > 0 ? out.values.data() : value;
  const T* prediction = bound.link != Link::kNone ? point : value;
  return {n, bound.positions, bound.width, bound.target_width, prediction, point,
          out.labelled ? nullptr : out.target.data(), out.labelled ? out.label.data() : nullptr,
          out.weighted ? out.weight.data() : nullptr};
}

template <class T> void TrainingStep<T>::loss(std::size_t k, Rows rows, const BatchJob<T>& job) {
  const BoundLoss<T>& bound = config_->losses[k];
  OutputArrays& out = outputs_[k];
  const std::int64_t offset = rows.begin * bound.positions, n = rows.count() * bound.positions;
  T* gradient = frame_->gradient(bound.prediction);
  T* delta = job.training && gradient != nullptr ? (out.adds_delta ? out.delta.data() : gradient) : nullptr;
  if (bound.config.callback != nullptr) {
    bound.config.callback->run(output(k, rows.count()), out.row_loss.data(), delta);
    if (delta != nullptr && bound.config.weight != 1) {
      kernels<T>().scale(static_cast<T>(bound.config.weight), delta, n * bound.width);
    }
  } else {
    LossArgs<T> args{};
    args.rows = n;
    args.n = bound.width;
    args.targets = bound.target_width;
    args.prediction = frame_->value(bound.prediction) + offset * bound.width;
    args.target = out.labelled ? nullptr : out.target.data() + offset * bound.target_width;
    args.label = out.labelled ? out.label.data() + offset : nullptr;
    args.weight = out.weighted ? out.row_weight.data() + offset : nullptr;
    args.row_loss = out.row_loss.data() + offset;
    args.delta = delta == nullptr ? nullptr : delta + offset * bound.width;
    args.scale = static_cast<T>(bound.config.weight / static_cast<double>(job.rows.count() * bound.positions));
    args.options = bound.options.data();
    kernels<T>().loss[static_cast<int>(bound.config.kind)](args);
  }
  if (delta != nullptr && out.adds_delta) {
    kernels<T>().axpy(T(1), delta + offset * bound.width, gradient + offset * bound.width, n * bound.width);
  }
  if (!kernels<T>().all_finite(out.row_loss.data() + offset, n)) flawed_.store(true, std::memory_order_relaxed);
  if (out.values.size() > 0) link_values(k, rows);
}

// What predict() would return, or of it the block to compare with the target, for the metrics that need it.
template <class T> void TrainingStep<T>::link_values(std::size_t k, Rows rows) {
  const BoundLoss<T>& bound = config_->losses[k];
  const std::int64_t offset = rows.begin * bound.positions * bound.width, count = rows.count() * bound.positions;
  const T* z = frame_->value(bound.prediction) + offset;
  T* y = outputs_[k].values.data() + rows.begin * bound.positions * bound.target_width;
  if (bound.target_width != bound.width) {
    z += bound.config.point * bound.target_width;
    for (std::int64_t r = 0; r < count; ++r, z += bound.width, y += bound.target_width) {
      std::copy_n(z, bound.target_width, y);
    }
    return;
  }
  switch (bound.link) {
    case Link::kSoftmax: kernels<T>().softmax(z, y, count, bound.width); break;
    case Link::kLogSoftmax: kernels<T>().log_softmax(z, y, count, bound.width); break;
    default: kernels<T>().activate[static_cast<int>(Activation::kSigmoid)](z, y, count * bound.width, T(0));
  }
}

// ---- words ----------------------------------------------------------------------------------------------------------

template <class T> std::string TrainingStep<T>::describe(std::int64_t n) const {
  std::string text = plan_->describe();
  for (const BoundLoss<T>& loss : config_->losses) text += "  loss: " + bp::describe(loss) + "\n";
  text += gradients_.size() > 0 ? "  gradients: materialised (clipping, accumulation, or asked for)\n"
                                : "  gradients: tile by tile, fused with the optimizer's update\n";
  text += "  tiles of parameters: " + std::to_string(tiles_.size()) + ", barriers a step: ";
  text += constraints_.any() ? "3, the third before constraints" : "2";
  text += plan_->whole_batch() ? " and two around each call that sees all rows\n" : "\n";
  text += "  threads at batch " + std::to_string(n) + ": " + std::to_string(threads(n, true)) + "\n";
  if (relay_pays(threads(n, true), n)) {
    text += "  " + plan_->steps()[0].name + " in forward: passed from thread to thread, each with its rows of the weights\n";
  }
  if (frame_ != nullptr) text += "  arena: " + std::to_string(bytes()) + " bytes\n";
  return text;
}

template class TrainingStep<float>;
template class TrainingStep<double>;

}  // namespace bp
