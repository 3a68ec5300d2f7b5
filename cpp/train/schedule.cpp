#include "train/schedule.h"

#include <algorithm>
#include <limits>

namespace bp {
namespace {

constexpr int kUnit = -2;  // a value that no activation lets out of [-1, 1]

std::size_t at(int i) { return static_cast<std::size_t>(i); }

bool is_within_one(Activation f) { return f == Activation::kSigmoid || f == Activation::kTanh; }

}  // namespace

template <class T>
Schedule<T>::Schedule(Workspace<T>& work, Outputs<T>& outputs, Relay<T>& relay)
    : work_(work), outputs_(outputs), relay_(relay) {
  const auto& steps = work_.plan->steps();
  calls_.push_back({Phase::kGather, 0, Partition::kRows});
  for (std::size_t s = 0; s < steps.size(); ++s) {
    calls_.push_back({Phase::kForward, static_cast<int>(s), steps[s].partition});
  }
  for (std::size_t k = 0; k < outputs_.count(); ++k) {
    const bool whole = outputs_.bound(k).config.whole != nullptr;
    calls_.push_back({Phase::kLoss, static_cast<int>(k), whole ? Partition::kWhole : Partition::kRows});
  }
  for (std::size_t k = 0; k < work_.config->objectives.size(); ++k) {
    calls_.push_back({Phase::kObjective, static_cast<int>(k), Partition::kRows});
  }
  first_backward_ = calls_.size();
  for (std::size_t s = steps.size(); s-- > 0;) {
    if (!steps[s].backward) continue;
    const Partition partition = steps[s].partition;
    if (by_columns(partition)) calls_.push_back({Phase::kPrepare, static_cast<int>(s), Partition::kRows});
    calls_.push_back({Phase::kBackward, static_cast<int>(s), partition});
  }
  const std::vector<int>& inputs = work_.graph->inputs;
  for (const Step<T>& step : steps) {
    calm_.push_back(calm_of(step));
    data_.emplace_back();
    for (int value : step.inputs) {
      const auto same = [&](int input) { return work_.plan->root(input) == work_.plan->root(value); };
      const auto found = std::find_if(inputs.begin(), inputs.end(), same);
      const bool unit = is_within_one(work_.graph->facts[at(work_.plan->root(value))].pointwise);
      data_.back().push_back(unit ? kUnit : found == inputs.end() ? -1 : static_cast<int>(found - inputs.begin()));
    }
  }
}

template <class T> std::int64_t Schedule<T>::scratch(std::int64_t n) const {
  return work_.plan->scratch_size(kRowBlock, n);
}

template <class T> void Schedule<T>::prepare(const BatchSource<T>& source, std::int64_t n, bool training) {
  largest_ = source.largest;
  largest_.resize(work_.graph->inputs.size(), std::numeric_limits<double>::infinity());
  long_ = work_.plan->is_long(static_cast<double>((training ? 3 : 1) * n));
}

template <class T> void Schedule<T>::run(Team& team, const BatchJob<T>& job) {
  std::size_t first = 0;
  Rows mine = rows_of(team, job);
  const bool relays = relay_.runs(team);
  if (relays) {
    mine = relay_.pass(team, job, work_.scratch[static_cast<std::size_t>(team.rank)].data());
    first = 2;  // the gather and the first step
  } else if (team.rank == 0) {
    relay_.rest();
  }
  make_all(first, job.training ? calls_.size() : first_backward_, mine, team, job);
  if (relays && team.rank == 0) relay_.look_ahead(team, job);
}

template <class T>
void Schedule<T>::make_all(std::size_t first, std::size_t end, Rows mine, Team& team, const BatchJob<T>& job) {
  T* scratch = work_.scratch[static_cast<std::size_t>(team.rank)].data();
  const std::int64_t n = job.rows.count();
  work_.frame->set_batch(n);
  const auto by_rows = [&](const Call& call) {
    return call.partition == Partition::kRows || (call.partition == Partition::kColumns && team.size == 1);
  };
  while (first < end) {
    if (!by_rows(calls_[first])) {
      team.barrier();
      if (by_columns(calls_[first].partition)) {
        if (wanted(calls_[first], job)) make_by_columns(calls_[first], n, team, scratch);
      } else if (team.rank == 0) {
        make(calls_[first], {0, n}, team, job, scratch);
      }
      const bool another = first + 1 < end && !by_rows(calls_[first + 1]);
      if (!another) team.barrier();
      ++first;
      continue;
    }
    std::size_t last = first;
    while (last < end && by_rows(calls_[last])) ++last;
    const std::int64_t height = work_.plan->block_rows();
    for (Rows block{mine.begin, mine.begin}; block.begin < mine.end; block.begin = block.end) {
      block.end = std::min(block.begin + height, mine.end);
      for (std::size_t c = first; c < last; ++c) make(calls_[c], block, team, job, scratch);
    }
    first = last;
  }
}

template <class T> void Schedule<T>::make(const Call& call, Rows rows, Team& team, const BatchJob<T>& job, T* scratch) {
  if (!wanted(call, job)) return;
  switch (call.phase) {
    case Phase::kGather: work_.gather(rows, job); return outputs_.gather(rows, job);
    case Phase::kLoss: return outputs_.loss(static_cast<std::size_t>(call.index), rows, job, team);
    case Phase::kObjective: return outputs_.objective(static_cast<std::size_t>(call.index), rows, job);
    case Phase::kForward: {
      if (!long_) return work_.frame->forward(static_cast<std::size_t>(call.index), rows, scratch);
      const Step<T>& step = work_.step(call.index);
      return step.forward_in_pieces(work_.io(call.index), step.all(rows, true), scratch, team);
    }
    case Phase::kPrepare:
      work_.step(call.index).prepare_backward(work_.io(call.index), rows);
      return check_delta(call.index, rows, team, job.rows.count());
    case Phase::kBackward: break;
  }
  const Step<T>& step = work_.step(call.index);
  if (call.partition == Partition::kColumns) {  // one thread: all columns of these rows
    if (long_) return step.backward_in_pieces(work_.io(call.index), step.all(rows, false), scratch, team);
    return step.backward_columns(work_.io(call.index), step.all(rows, false), scratch);
  }
  if (long_) {
    step.prepare_backward(work_.io(call.index), rows);
    step.backward_in_pieces(work_.io(call.index), step.all(rows, false), scratch, team);
  } else {
    work_.frame->backward(static_cast<std::size_t>(call.index), rows, scratch);
  }
  check_delta(call.index, rows, team, job.rows.count());
}

template <class T> bool Schedule<T>::wanted(const Call& call, const BatchJob<T>& job) const {
  return job.wrt_inputs || call.phase < Phase::kPrepare || !work_.step(call.index).backward_for_inputs;
}

// All rows, a thread's share of the columns, cut where vectors end.
template <class T> void Schedule<T>::make_by_columns(const Call& call, std::int64_t n, Team& team, T* scratch) {
  const Step<T>& step = work_.step(call.index);
  const bool forward = call.phase == Phase::kForward;
  const Block block{{0, n}, split_columns(step.columns(forward), team.rank, team.size)};
  if (block.columns.count() == 0) return;
  Io<T>& io = work_.io(call.index);
  if (forward) {
    long_ ? step.forward_in_pieces(io, block, scratch, team) : step.forward_columns(io, block, scratch);
  } else {
    long_ ? step.backward_in_pieces(io, block, scratch, team) : step.backward_columns(io, block, scratch);
  }
}

template <class T> T Schedule<T>::largest_input(int step, std::size_t input, Rows rows, const Team& team) const {
  if (step == 0 && relay_.runs(team)) return relay_.largest_input(team, rows);
  const std::int64_t width = work_.graph->size(work_.step(step).inputs[input]);
  return kernels<T>().max_abs(work_.io(step).x[input] + rows.begin * width, rows.count() * width);
}

// A step's gradients are calm while max |x| max |delta| (samples in the batch) is at most calm_, x being 1 for a bias.
// What is known of the whole data spares the look at the batch's, unless delta is so large that something may be wrong
// with them: they are read in place, and may have changed.
template <class T> void Schedule<T>::check_delta(int s, Rows rows, const Team& team, std::int64_t batch) {
  const Step<T>& step = work_.step(s);
  if (step.params.empty()) return;
  const std::int64_t size = size_of(step.op->sizes().shape);
  const auto delta = static_cast<double>(
      kernels<T>().max_abs(work_.frame->gradient(step.output) + rows.begin * size, rows.count() * size));
  if (!(delta <= kLargest<T>)) return work_.flaw();
  const double calm = calm_[at(s)], most = delta * static_cast<double>(batch);  // times |x|
  bool sure = most <= calm;
  for (std::size_t i = 0; i < step.inputs.size() && sure; ++i) {
    const int input = data_[at(s)][i];
    if (most == 0 || input == kUnit || (input >= 0 && delta <= 1 && most * largest_[at(input)] <= calm)) continue;
    sure = most * static_cast<double>(largest_input(s, i, rows, team)) <= calm;
  }
  if (!sure) work_.doubt_gradients();
}

template <class T> bool Schedule<T>::always_doubts() const {
  return std::any_of(calm_.begin(), calm_.end(), [](double calm) { return calm <= 0; });
}

// Of a step whose parameters are not trained there is no gradient that could be large.
template <class T> double Schedule<T>::calm_of(const Step<T>& step) const {
  std::size_t uses = 0;
  for (int p : step.params) {
    if (work_.param(p).trainable) uses = std::max(uses, work_.plan->uses(p).size());
  }
  if (uses == 0) return std::numeric_limits<double>::infinity();
  if (step.op->facts().steepness == std::numeric_limits<double>::infinity()) return -1;  // below any product
  const std::int64_t size = size_of(step.op->sizes().shape);
  std::int64_t positions = size;  // at most
  for (int input : step.inputs) positions = std::max(positions, work_.graph->size(input));
  if (const Product<T>* product = step.op->as_product()) positions = size / product->out();
  return kCalm<T> / (step.op->facts().steepness * static_cast<double>(uses) * static_cast<double>(positions));
}

template class Schedule<float>;
template class Schedule<double>;

}  // namespace bp
