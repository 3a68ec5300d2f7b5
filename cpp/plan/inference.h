// Forward passes of a graph: thread-safe, by blocks of rows, each thread in a frame of its own.
#pragma once

#include <mutex>

#include "plan/frame.h"
#include "plan/gather.h"

namespace bp {

template <class T> class Inference {
 public:
  explicit Inference(std::shared_ptr<const Graph<T>> graph);

  const Plan<T>& plan() const { return *plan_; }
  // ys[k]: (n, size of output k), contiguous. Many threads may call at once.
  // training: as in a training batch, the `draw`-th, all rows at once on one thread; running statistics move.
  void run(const std::vector<RowReader<T>>& xs, std::int64_t n, const std::vector<T*>& ys, bool training,
           std::uint64_t draw);
  // The same for one contiguous input and one output and few rows: no setup at all.
  void run_direct(const T* x, std::int64_t n, T* y);

 private:
  struct Worker {
    Worker(std::shared_ptr<const Plan<T>> plan, std::int64_t capacity);
    Frame<T> frame;
    Buffer<T> scratch;
  };
  std::unique_ptr<Worker> take();
  void give(std::unique_ptr<Worker> worker);
  void run_rows(Worker& worker, const std::vector<RowReader<T>>& xs, Rows rows, const std::vector<T*>& ys);

  std::shared_ptr<const Plan<T>> plan_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> idle_;
};

// Rows a thread takes through all layers at once: enough that copying a layer's weights into panels is a small part (784-512-
// 512-10: 3 % faster than with 128), few enough that a layer's activations stay in a 1 MB level-2 cache (256 rows x 512
// floats = 512 KB).
constexpr std::int64_t kRowBlock = 256;

// Threads worth waking for so many flops. A team costs about a microsecond to start, and each member 0.1 us at the two
// barriers and a copy of the weights that others have just written (docs/scaling.md): 6e5 flops take 5 to 10 us.
constexpr std::int64_t kFlopsPerThread = 600'000;
// A thread that takes samples reads all weights for them: of fewer than so many rows it is bound by that, not by
// arithmetic (4 rows x 2 vectors are the 8 chains of a tile that hide the multiplier's latency).
constexpr std::int64_t kRowsPerThread = 4;
int threads_for(std::int64_t flops);
int threads_for(std::int64_t flops, std::int64_t rows);

}  // namespace bp
