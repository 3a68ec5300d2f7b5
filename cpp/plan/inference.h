// Forward passes of a graph: thread-safe, by blocks of rows, each thread in a frame of its own.
#pragma once

#include "base/crew.h"
#include "plan/frame.h"
#include "plan/gather.h"
#include "plan/teamwork.h"

namespace bp {

template <class T> class Inference {
 public:
  explicit Inference(std::shared_ptr<const Graph<T>> graph);

  const Plan<T>& plan() const { return *plan_; }
  // ys[k]: (n, size of output k), contiguous. Many threads may call at once.
  // training: as in a training batch, the `draw`-th, all rows at once on one thread; running statistics move (commit).
  void run(const std::vector<RowReader<T>>& xs, std::int64_t n, const std::vector<T*>& ys, bool training,
           std::uint64_t draw, bool commit = true);
  // The same for one contiguous input and one output and few rows: no setup at all.
  void run_direct(const T* x, std::int64_t n, T* y);
  void run_few(const RowReader<T>& x, std::int64_t n, T* y);  // of an input that is not read as it lies there

 private:
  struct Worker {
    Worker(std::shared_ptr<const Plan<T>> plan, std::int64_t capacity);
    Frame<T> frame;
    Buffer<T> scratch;
  };
  template <class Body> void run_crew(std::int64_t n, Body body);
  std::unique_ptr<Worker> take();
  void give(std::unique_ptr<Worker> worker);
  void run_here(const T* x, const RowReader<T>* reader, std::int64_t n, T* y);
  void run_rows(Worker& worker, const std::vector<RowReader<T>>& xs, Rows rows, const std::vector<T*>& ys,
                bool in_pieces, Team& team);

  std::shared_ptr<const Plan<T>> plan_;
  std::vector<std::unique_ptr<Worker>> idle_;  // under free_in_children(), as the next
  Crews crews_;
};

}  // namespace bp
