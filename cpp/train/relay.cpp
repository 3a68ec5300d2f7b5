#include "train/relay.h"

#include <algorithm>
#include <limits>

namespace bp {
namespace {

// Rows in a block: whole tiles of the product (6 rows on v3, up to 14 on v4), few in a small batch, because the second
// thread waits for the first one's first block.
constexpr std::int64_t kRelayRows = 6, kMostRelayRows = 12, kBlocks = 8;
constexpr std::int64_t kLastRows = 4;             // in the last one, after which nobody has more to do than its rows
constexpr std::int64_t kRelayWeights = 16 << 10;  // at least: fewer travel in no time
constexpr std::int64_t kShareBytes = 512 << 10;   // of the weights, half a level-2 cache: they are read for each block
constexpr std::int64_t kValuesPerRow = 4;  // columns of the data for each row of the batch: else sums travel as far
constexpr std::int64_t kBatchBlocks = 1 << 24;  // more than a batch can have: what a thread has counted after k batches

std::int64_t block_height(std::int64_t n) { return std::clamp(n / kBlocks, kRelayRows, kMostRelayRows); }

bool has(const std::vector<int>& list, int wanted) { return std::find(list.begin(), list.end(), wanted) != list.end(); }

}  // namespace

template <class T> Relay<T>::Relay(const Workspace<T>& work, Outputs<T>& outputs) : work_(work), outputs_(outputs) {
  const auto& steps = work_.plan->steps();
  const Graph<T>& graph = *work_.graph;
  if (steps.empty() || steps[0].partition != Partition::kRows) return;
  const Product<T>* product = steps[0].op->as_product();
  if (product == nullptr || !product->by_depth()) return;
  const int value = steps[0].inputs[0], param = steps[0].params[0];
  // Its tiles have to be the first ones: a thread that leaves the barrier early has only tiles of the relay left.
  for (int p = 0; p < param; ++p) {
    if (work_.param(p).trainable) return;
  }
  for (std::size_t s = 1; s < steps.size(); ++s) {
    if (has(steps[s].inputs, value) || has(steps[s].params, param)) return;
  }
  for (const BoundLoss<T>& loss : work_.config->losses) {  // of the data themselves
    if (work_.plan->root(loss.prediction) == value || work_.plan->root(loss.output) == value) return;
  }
  const auto input = std::find(graph.inputs.begin(), graph.inputs.end(), value);
  const ParameterView<T>& weights = work_.param(param);
  const bool whole_rows = weights.row_size() <= kSlabColumns;
  if (input == graph.inputs.end() || !weights.trainable || !whole_rows || size_of(weights.shape) < kRelayWeights)
    return;
  input_ = static_cast<int>(input - graph.inputs.begin());
  param_ = param;
}

// Three passes over the other steps' weights (forward, backward, update), two over the relay's.
template <class T> void Relay<T>::share_out(const Tiles<T>& tiles) {
  if (param_ < 0) return;
  const std::int64_t others = tiles.elements() - size_of(work_.param(param_).shape);
  for (int size = 2; size <= kMostThreads; ++size) {
    double rows = 0;
    auto& legs = legs_[at(size)];
    for (int rank = 0; rank < size; ++rank) {
      Leg& leg = legs[at(rank)];
      std::int64_t work = 0;
      const Rows mine = tiles.of(rank, size);
      for (std::int64_t t = mine.begin; t < mine.end; ++t) {
        work += tiles[t].work;
        if (tiles[t].param != param_) continue;
        if (leg.depth.end == 0) leg.depth.begin = tiles[t].rows.begin;
        leg.depth.end = tiles[t].rows.end;
      }
      leg.rows_from = rows;
      const double share = static_cast<double>(tiles.work() + 2 * others) / size - static_cast<double>(work);
      rows += others == 0 ? 1.0 / size : std::max(share / static_cast<double>(2 * others), 0.0);
    }
    for (int rank = 0; rank < size; ++rank) legs[at(rank)].rows_from /= std::max(rows, 1e-9);
    legs[at(size)].rows_from = 1;
  }
}

template <class T> bool Relay<T>::pays(int threads, std::int64_t n) const {
  if (param_ < 0 || threads == 1 || threads > kMostThreads) return false;
  const ParameterView<T>& weights = work_.param(param_);
  return kValuesPerRow * n <= weights.rows() &&
         size_of(weights.shape) * static_cast<std::int64_t>(sizeof(T)) <= kShareBytes * threads;
}

// Each thread's columns of the data lie in a block of their own, rows an odd number of lines apart. In common rows two
// threads would write to one line, which costs up to 3 % where lines travel fast between the cores, else 10 to 25 %.
template <class T> std::int64_t Relay<T>::stride(int size, int rank) const {
  constexpr std::int64_t kLine = kAlignment / static_cast<std::int64_t>(sizeof(T));
  return ((legs_[at(size)][at(rank)].depth.count() + kLine - 1) / kLine | 1) * kLine;
}

template <class T>
void Relay<T>::prepare(const BatchSource<T>& source, std::int64_t n, int threads, bool training, std::uint64_t draw) {
  first_draw_ = draw;
  for (Passed& passed : passed_) passed.blocks.store(0, std::memory_order_relaxed);
  last_size_ = 0;
  std::int64_t row = 0;
  for (int size = 0; size <= kMostThreads; ++size) {
    runs_[at(size)] = size >= 2 && size <= threads && training && pays(size, n) && source.xs[at(input_)].has_columns();
    if (!runs_[at(size)]) continue;
    std::int64_t sum = 0;
    for (int rank = 0; rank < size; ++rank) sum += stride(size, rank);
    row = std::max(row, sum);
  }
  if (row == 0) return;
  const std::int64_t size = row * work_.capacity;
  if (data_.size() < size) data_ = Buffer<T>(size, kUnwritten, "the sums of the first layer of a batch");
  lay();
}

template <class T> void Relay<T>::lay() {
  for (int size = 2; size <= kMostThreads; ++size) {
    if (!runs_[at(size)]) continue;
    const T* block = data_.data();
    for (int rank = 0; rank < size; ++rank) {
      ProductArrays<T>& arrays = arrays_[at(size)][at(rank)];
      arrays = work_.step(0).op->as_product()->arrays(work_.io(0));
      arrays.x = block - legs_[at(size)][at(rank)].depth.begin;
      arrays.x_stride = stride(size, rank);
      block += work_.capacity * arrays.x_stride;
    }
  }
}

template <class T> T* Relay<T>::block(int size, int rank) const {
  return const_cast<T*>(arrays_[at(size)][at(rank)].x) + legs_[at(size)][at(rank)].depth.begin;
}

template <class T> void Relay<T>::fill_frame() {
  if (last_size_ == 0) return;
  const int value = work_.step(0).inputs[0];
  const std::int64_t width = work_.graph->size(value);
  for (int rank = 0; rank < last_size_; ++rank) {
    const Rows columns = legs_[at(last_size_)][at(rank)].depth;
    const T* from = block(last_size_, rank);
    for (std::int64_t r = 0; r < last_rows_; ++r, from += arrays_[at(last_size_)][at(rank)].x_stride) {
      std::copy_n(from, columns.count(), work_.frame->value(value) + r * width + columns.begin);
    }
  }
  last_size_ = 0;
}

template <class T> T Relay<T>::largest_input(const Team& team, Rows rows) const {
  T most = 0;
  for (int rank = 0; rank < team.size; ++rank) {
    const std::int64_t stride = arrays_[at(team.size)][at(rank)].x_stride;
    const T* x = block(team.size, rank) + rows.begin * stride;
    const std::int64_t columns = legs_[at(team.size)][at(rank)].depth.count();
    for (std::int64_t r = rows.begin; r < rows.end; ++r, x += stride) {
      const T largest = kernels<T>().max_abs(x, columns);
      if (!(largest <= std::numeric_limits<T>::max())) return largest;
      most = std::max(most, largest);
    }
  }
  return most;
}

// The first thread asks while it waits for the others' deltas, the others while they wait for its first block.
// 784-30-10: 6.2 -> 6.0 us.
template <class T> void Relay<T>::look_ahead(const Team& team, const BatchJob<T>& job) const {
  const Rows next = next_batch(job, team.size), columns = legs_[at(team.size)][at(team.rank)].depth;
  for (std::int64_t r = next.begin; r < next.end; ++r) job.source->xs[at(input_)].prefetch(job.order[r], columns);
}

template <class T> Rows Relay<T>::pass(Team& team, const BatchJob<T>& job, T* scratch) {
  const std::int64_t n = job.rows.count();
  if (team.rank == 0) last_size_ = team.size, last_rows_ = n;
  const auto& legs = legs_[at(team.size)];
  const Rows depth = legs[at(team.rank)].depth;
  const RowReader<T>& reader = job.source->xs[at(input_)];
  const ProductArrays<T>& arrays = this->arrays(team);
  const Product<T>& product = *work_.step(0).op->as_product();
  T* const block_of_mine = block(team.size, team.rank);
  const auto gather_columns = [&](Rows rows) {
    const Rows from{job.rows.begin + rows.begin, job.rows.begin + rows.end};
    reader.read_columns(job.order, from, depth, block_of_mine + rows.begin * arrays.x_stride, arrays.x_stride);
  };
  const auto gather_rest = [&](Rows rows) {
    work_.gather(rows, job, input_);
    outputs_.gather(rows, job);
  };
  const std::int64_t last = std::min(kLastRows, n), early = n - last, height = block_height(n);
  const int blocks = static_cast<int>((early + height - 1) / height) + 1;
  const auto block = [&](int b) { return b + 1 == blocks ? Rows{early, n} : split(early, b, blocks - 1); };
  const auto from = [&](int rank) {  // the last block is the last thread's, which is there when it is done
    const auto row = static_cast<std::int64_t>(legs[at(rank)].rows_from * static_cast<double>(n));
    return rank == team.size ? n : std::min(row, early);
  };
  const Rows mine{from(team.rank), from(team.rank + 1)};
  const auto counted = static_cast<std::int64_t>(job.draw - first_draw_) * kBatchBlocks;  // with the batches before
  // Shuffled rows are gathered block by block, while the product of one block asks for the rows of the next:
  // 784-128-64-10 4 %, 784-128-10 3 % faster than all at once.
  const bool streams = job.order != nullptr && n > kMostRelayRows;
  if (team.rank > 0) {  // while the first thread is at its first block
    if (!streams) gather_columns({0, n});
    gather_rest(mine);
    look_ahead(team, job);
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
    if (team.rank > 0) team.await(passed_[at(team.rank - 1)].blocks, counted + b + 1);
    if (depth.count() > 0) product.forward(arrays, rows, {0, product.out()}, depth, soon, scratch);
    passed_[at(team.rank)].blocks.store(counted + b + 1, std::memory_order_release);
  }
  if (team.rank == 0) gather_rest(mine);
  int needed = 1;  // at least: then every thread is through with the last update
  while (needed < blocks && block(needed).begin < mine.end) ++needed;
  team.await(passed_[at(team.size - 1)].blocks, counted + needed);
  return mine;
}

template class Relay<float>;
template class Relay<double>;

}  // namespace bp
