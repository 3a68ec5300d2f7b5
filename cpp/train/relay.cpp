// The first layer's forward pass as a relay, for few samples of many values (784-30-10, batch 10).
//
// Samples shared out, every thread would read all weights, half of which another core has just written, and in the update
// columns of data that another thread gathered. Here a thread has the rows of the weights whose tiles it updates, and the
// columns of the data that meet them: both stay in its cache. The sums go from thread to thread by blocks of rows, each adds
// its part to every chain, so an element is the chain that one thread would compute. What travels is the layer's output, and
// the next batch may start while another thread still updates rows of its own.
#include "train/step.h"

#include <algorithm>
#include <limits>

namespace bp {
namespace {

// Rows in a block: whole tiles of the product (6 rows on v3, up to 14 on v4), few in a small batch, because the second thread
// waits for the first one's first block.
constexpr std::int64_t kRelayRows = 6, kMostRelayRows = 12, kBlocks = 8;
constexpr std::int64_t kLastRows = 4;             // in the last one, after which nobody has more to do than its rows
constexpr std::int64_t kRelayWeights = 16 << 10;  // at least: fewer travel in no time
constexpr std::int64_t kShareBytes = 512 << 10;   // of the weights, half a level-2 cache: they are read for each block
constexpr std::int64_t kValuesPerRow = 4;         // columns of the data for each row of the batch: else sums travel as far

std::size_t at(int i) { return static_cast<std::size_t>(i); }

}  // namespace

// Only the first step's own weights and data, which nothing else reads.
template <class T> void TrainingStep<T>::find_relay() {
  const auto& steps = plan_->steps();
  if (steps.empty() || steps[0].op->depth() == 0 || steps[0].op->partition(true) != Partition::kRows) return;
  const int value = steps[0].inputs[0], param = steps[0].params[0];
  // Its tiles have to be the first ones: a thread that leaves the barrier early has only tiles of the relay left.
  for (int p = 0; p < param; ++p) {
    if (graph_->params[at(p)].trainable) return;
  }
  const auto has = [](const std::vector<int>& list, int wanted) {
    return std::find(list.begin(), list.end(), wanted) != list.end();
  };
  for (std::size_t s = 1; s < steps.size(); ++s) {
    if (has(steps[s].inputs, value) || has(steps[s].params, param)) return;
  }
  for (const BoundLoss<T>& loss : config_->losses) {  // of the data themselves
    if (plan_->root(loss.prediction) == value || plan_->root(loss.output) == value) return;
  }
  const auto input = std::find(graph_->inputs.begin(), graph_->inputs.end(), value);
  const ParameterView<T>& weights = graph_->params[at(param)];
  const bool whole_rows = weights.row_size() <= kSlabColumns;
  if (input == graph_->inputs.end() || !weights.trainable || !whole_rows || size_of(weights.shape) < kRelayWeights) return;
  relay_.input = static_cast<int>(input - graph_->inputs.begin());
  relay_.param = param;
}

// The other steps' rows are shared out so that all threads have the same work: three passes over their weights (forward,
// backward, update), two over the relay's.
template <class T> void TrainingStep<T>::plan_relay() {
  if (relay_.param < 0) return;
  const std::int64_t others = elements_ - size_of(graph_->params[at(relay_.param)].shape);
  for (int size = 2; size <= kRelayThreads; ++size) {
    double rows = 0;
    for (int rank = 0; rank < size; ++rank) {
      Leg& leg = relay_.legs[size][rank];
      std::int64_t work = 0;
      const Rows mine = my_tiles(rank, size);
      for (std::int64_t t = mine.begin; t < mine.end; ++t) {
        const OwnedTile& tile = tiles_[static_cast<std::size_t>(t)];
        work += tile.work;
        if (tile.param != relay_.param) continue;
        if (leg.depth.end == 0) leg.depth.begin = tile.rows.begin;
        leg.depth.end = tile.rows.end;
      }
      leg.rows_from = rows;
      const double share = static_cast<double>(work_ + 2 * others) / size - static_cast<double>(work);
      rows += others == 0 ? 1.0 / size : std::max(share / static_cast<double>(2 * others), 0.0);
    }
    for (int rank = 0; rank < size; ++rank) relay_.legs[size][rank].rows_from /= std::max(rows, 1e-9);
    relay_.legs[size][size].rows_from = 1;
  }
}

template <class T> bool TrainingStep<T>::relay_pays(int threads, std::int64_t n) const {
  if (relay_.param < 0 || threads == 1 || threads > kRelayThreads) return false;
  const ParameterView<T>& weights = graph_->params[at(relay_.param)];
  return kValuesPerRow * n <= weights.rows() &&
         size_of(weights.shape) * static_cast<std::int64_t>(sizeof(T)) <= kShareBytes * threads;
}

// Each thread's columns of the data lie in a block of their own, rows an odd number of lines apart. In common rows two
// threads would write to one line, which costs up to 3 % where lines travel fast between the cores, else 10 to 25 %.
template <class T> std::int64_t TrainingStep<T>::relay_stride(int rank) const {
  constexpr std::int64_t kLine = kAlignment / static_cast<std::int64_t>(sizeof(T));
  return ((relay_.legs[relay_.threads][rank].depth.count() + kLine - 1) / kLine | 1) * kLine;
}

// What the blocks of a sample take besides the sample.
template <class T> std::int64_t TrainingStep<T>::relay_spare() const {
  std::int64_t spare = -graph_->size(plan_->steps()[0].inputs[0]);
  for (int rank = 0; rank < relay_.threads; ++rank) spare += relay_stride(rank);
  return spare;
}

template <class T> void TrainingStep<T>::lay_relay() {
  const T* block = frame_->value(plan_->steps()[0].inputs[0]);
  for (int rank = 0; rank < relay_.threads; ++rank) {
    Io<T>& io = relay_.io[rank];
    io = frame_->io(0);
    io.x[0] = block - relay_.legs[relay_.threads][rank].depth.begin;
    io.x_stride = relay_stride(rank);
    block += capacity_ * io.x_stride;
  }
}

template <class T> T* TrainingStep<T>::relay_block(int rank) {
  return const_cast<T*>(relay_.io[rank].x[0]) + relay_.legs[relay_.threads][rank].depth.begin;
}

// The team is smaller than was asked for (OpenMP may give fewer threads; after a fork there is one).
template <class T> void TrainingStep<T>::leave_relay(Team& team) {
  team.barrier();
  if (team.rank == 0) relay_.threads = 0;
  team.barrier();
}

template <class T> void TrainingStep<T>::settle() {
  if (relay_.threads == 0) return;
  const int value = plan_->steps()[0].inputs[0];
  const std::int64_t width = graph_->size(value);
  Buffer<T> rows(capacity_ * width);
  for (int rank = 0; rank < relay_.threads; ++rank) {
    const Rows columns = relay_.legs[relay_.threads][rank].depth;
    const T* from = relay_block(rank);
    for (std::int64_t r = 0; r < capacity_; ++r, from += relay_.io[rank].x_stride) {
      std::copy_n(from, columns.count(), rows.data() + r * width + columns.begin);
    }
  }
  std::copy_n(rows.data(), rows.size(), frame_->value(value));
  relay_.threads = 0;
}

// Of some samples the greatest magnitude, or one that is not a number.
template <class T> T TrainingStep<T>::largest_input(std::size_t step, std::size_t input, Rows rows) {
  const std::int64_t width = graph_->size(plan_->steps()[step].inputs[input]);
  if (step > 0 || relay_.threads == 0) {
    return kernels<T>().max_abs(frame_->io(step).x[input] + rows.begin * width, rows.count() * width);
  }
  T most = 0;
  for (int rank = 0; rank < relay_.threads; ++rank) {
    const T* x = relay_block(rank) + rows.begin * relay_.io[rank].x_stride;
    const std::int64_t columns = relay_.legs[relay_.threads][rank].depth.count();
    for (std::int64_t r = rows.begin; r < rows.end; ++r, x += relay_.io[rank].x_stride) {
      const T largest = kernels<T>().max_abs(x, columns);
      if (!(largest <= std::numeric_limits<T>::max())) return largest;
      most = std::max(most, largest);
    }
  }
  return most;
}

template <class T> std::int64_t TrainingStep<T>::relay_scratch() const {
  std::int64_t most = 0;
  for (int size = 2; relay_.param >= 0 && size <= kRelayThreads; ++size) {
    for (int rank = 0; rank < size; ++rank) {
      const Rows depth = relay_.legs[size][rank].depth;
      if (depth.count() > 0) most = std::max(most, plan_->steps()[0].op->depth_scratch(kMostRelayRows, depth));
    }
  }
  return most;
}

// The next batch's columns, asked for where a thread is going to wait: the first one for the others' deltas, the others for
// its first block. 784-30-10: 6.2 -> 6.0 us.
template <class T> void TrainingStep<T>::prefetch_relay(const Team& team, const BatchJob<T>& job) const {
  const Rows next = next_rows(team, job), columns = relay_.legs[team.size][team.rank].depth;
  for (std::int64_t r = next.begin; r < next.end; ++r) job.source->xs[at(relay_.input)].prefetch(job.order[r], columns);
}

// Gathers the batch and takes it through the first step; returns the rows that this thread is to go on with.
template <class T> Rows TrainingStep<T>::forward_relay(Team& team, const BatchJob<T>& job, T* scratch) {
  const std::int64_t n = job.rows.count();
  const Leg* const legs = relay_.legs[team.size];
  const Rows depth = legs[team.rank].depth;
  const RowReader<T>& reader = job.source->xs[at(relay_.input)];
  const Io<T>& io = relay_.io[team.rank];
  T* const block_of_mine = relay_block(team.rank);
  const auto gather_columns = [&](Rows rows) {
    const Rows from{job.rows.begin + rows.begin, job.rows.begin + rows.end};
    reader.read_columns(job.order, from, depth, block_of_mine + rows.begin * io.x_stride, io.x_stride);
  };
  const std::int64_t last = std::min(kLastRows, n), early = n - last;
  const std::int64_t height = std::clamp(n / kBlocks, kRelayRows, kMostRelayRows);
  const int blocks = static_cast<int>((early + height - 1) / height) + 1;
  const auto block = [&](int b) { return b + 1 == blocks ? Rows{early, n} : split(early, b, blocks - 1); };
  const auto from = [&](int rank) {  // the last block is the last thread's, which is there when it is done
    const auto row = static_cast<std::int64_t>(legs[rank].rows_from * static_cast<double>(n));
    return rank == team.size ? n : std::min(row, early);
  };
  const Rows mine{from(team.rank), from(team.rank + 1)};
  // Shuffled rows are gathered block by block, while the product of one block asks for the rows of the next: 784-128-64-10
  // 4 %, 784-128-10 3 % faster than all at once.
  const bool streams = job.order != nullptr && n > kMostRelayRows;
  if (team.rank > 0) {  // while the first thread is at its first block
    if (!streams) gather_columns({0, n});
    gather(mine, job, relay_.input);
    prefetch_relay(team, job);
  }
  const char* wanted[kMostRelayRows];
  Runs soon{wanted, 0, reader.run_bytes(depth)};
  for (int b = 0; b < blocks; ++b) {
    const Rows rows = block(b);
    if (team.rank == 0 || streams) gather_columns(rows);
    if (streams && soon.bytes > 0) {
      const Rows next = b + 1 < blocks ? block(b + 1) : Rows{n, std::min(n + height, job.source->n - job.rows.begin)};
      soon.count = next.count();
      for (std::int64_t r = 0; r < next.count(); ++r) {
        wanted[r] = reader.run_of(job.order[job.rows.begin + next.begin + r], depth);
      }
    }
    if (team.rank > 0) team.await(passed_[at(team.rank - 1)].blocks, b + 1);
    if (depth.count() > 0) plan_->steps()[0].op->forward_depth(io, rows, depth, soon, scratch);
    passed_[at(team.rank)].blocks.store(b + 1, std::memory_order_release);
  }
  if (team.rank == 0) gather(mine, job, relay_.input);
  int needed = 1;  // at least: then every thread is through with the last update
  while (needed < blocks && block(needed).begin < mine.end) ++needed;
  team.await(passed_[at(team.size - 1)].blocks, needed);
  return mine;
}

#define BP_INSTANTIATE_RELAY(T)                                                                  \
  template void TrainingStep<T>::find_relay();                                                   \
  template void TrainingStep<T>::plan_relay();                                                   \
  template bool TrainingStep<T>::relay_pays(int threads, std::int64_t n) const;                  \
  template std::int64_t TrainingStep<T>::relay_stride(int rank) const;                           \
  template std::int64_t TrainingStep<T>::relay_spare() const;                                    \
  template T* TrainingStep<T>::relay_block(int rank);                                            \
  template void TrainingStep<T>::lay_relay();                                                    \
  template void TrainingStep<T>::leave_relay(Team& team);                                        \
  template void TrainingStep<T>::settle();                                                       \
  template T TrainingStep<T>::largest_input(std::size_t step, std::size_t input, Rows rows);     \
  template std::int64_t TrainingStep<T>::relay_scratch() const;                                  \
  template void TrainingStep<T>::prefetch_relay(const Team& team, const BatchJob<T>& job) const; \
  template Rows TrainingStep<T>::forward_relay(Team& team, const BatchJob<T>& job, T* scratch);
BP_INSTANTIATE_RELAY(float)
BP_INSTANTIATE_RELAY(double)
#undef BP_INSTANTIATE_RELAY

}  // namespace bp
