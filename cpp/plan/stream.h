// A network that takes one step of some sequences at a time, and carries their states from step to step.
#pragma once

#include "plan/frame.h"
#include "plan/gather.h"

namespace bp {

template <class T> class Stream {
 public:
  // A graph of one step with one input and one output; some sequences at once.
  Stream(std::shared_ptr<const Graph<T>> graph, std::int64_t rows);

  std::int64_t rows() const { return rows_; }
  // x (rows, ..), or what a reader makes of it; y (rows, ..).
  void step(const T* x, T* y) { run(x, nullptr, y); }
  void step(const RowReader<T>& x, T* y) { run(nullptr, &x, y); }
  Frame<T>& frame() { return frame_; }  // which has the states
  const Plan<T>& plan() const { return *plan_; }

 private:
  void run(const T* x, const RowReader<T>* reader, T* y);

  std::shared_ptr<const Plan<T>> plan_;
  std::int64_t rows_;
  Frame<T> frame_;
  Buffer<T> scratch_;
};

}  // namespace bp
