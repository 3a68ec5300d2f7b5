#include "plan/inference.h"

#include <algorithm>
#include <atomic>

#include "base/fork.h"
#include "base/threads.h"

namespace bp {

template <class T>
Inference<T>::Worker::Worker(std::shared_ptr<const Plan<T>> plan, std::int64_t capacity)
    : frame(plan, capacity), scratch(plan->scratch_size(capacity, capacity), kUnwritten) {}

template <class T> Inference<T>::Inference(std::shared_ptr<const Graph<T>> graph) {
  const std::vector<int> outputs = graph->outputs;
  plan_ = std::make_shared<Plan<T>>(std::move(graph), outputs, std::vector<int>{}, PlanOptions{});
}

template <class T> std::unique_ptr<typename Inference<T>::Worker> Inference<T>::take() {
  {
    std::lock_guard lock(free_in_children());
    if (!idle_.empty()) {
      auto worker = std::move(idle_.back());
      idle_.pop_back();
      return worker;
    }
  }
  return std::make_unique<Worker>(plan_, kRowBlock);
}

template <class T> void Inference<T>::give(std::unique_ptr<Worker> worker) {
  std::lock_guard lock(free_in_children());
  idle_.push_back(std::move(worker));
}

// Rows that fit the worker's frame.
template <class T>
void Inference<T>::run_rows(Worker& worker, const std::vector<RowReader<T>>& xs, Rows rows, const std::vector<T*>& ys,
                            bool in_pieces, Team& team) {
  const Graph<T>& graph = plan_->graph();
  Frame<T>& frame = worker.frame;
  const Rows local{0, rows.count()};
  for (std::size_t k = 0; k < xs.size(); ++k) {
    const int input = graph.inputs[k];
    if (!plan_->computed(input)) continue;
    const T* direct = xs[k].direct();
    frame.bind_input(input, direct == nullptr ? nullptr : direct + rows.begin * xs[k].row_size());
    if (direct == nullptr) xs[k].read(nullptr, rows, frame.value(input));
  }
  for (std::size_t s = 0; s < plan_->steps().size(); ++s) {
    const Step<T>& step = plan_->steps()[s];
    if (in_pieces) {
      step.forward_in_pieces(frame.io(s), step.all(local, true), worker.scratch.data(), team);
    } else {
      frame.forward(s, local, worker.scratch.data());
    }
  }
  for (std::size_t k = 0; k < ys.size(); ++k) {
    const int output = graph.outputs[k];
    const std::int64_t size = graph.size(output);
    std::copy_n(frame.value(output), local.count() * size, ys[k] + rows.begin * size);
  }
}

template <class T>
void Inference<T>::run(const std::vector<RowReader<T>>& xs, std::int64_t n, const std::vector<T*>& ys, bool training,
                       std::uint64_t draw, bool commit) {
  if (n == 0) return;
  const bool is_long = plan_->is_long(static_cast<double>(n));
  if (training || plan_->whole_batch()) {
    Worker worker(plan_, n);
    worker.frame.set_training(training);
    worker.frame.set_draw(draw);
    return run_team(1, [&](Team& team) {
      run_rows(worker, xs, {0, n}, ys, is_long, team);
      if (training && commit) worker.frame.commit(n);
    });
  }
  // Whoever is free takes the next rows: a thread that has lost its core keeps nobody waiting for more than one part.
  const std::int64_t most = plan_->block_rows();
  std::atomic<std::int64_t> next{0};
  run_crew(n, [&](Team& team) {
    const std::int64_t parts = ((n + most - 1) / most + team.size - 1) / team.size * team.size;
    const std::int64_t height = (n + parts - 1) / parts;
    auto worker = take();
    for (std::int64_t r = next.fetch_add(height); r < n; r = next.fetch_add(height)) {
      run_rows(*worker, xs, {r, std::min(r + height, n)}, ys, is_long, team);
    }
    give(std::move(worker));
  });
}

template <class T> template <class Body> void Inference<T>::run_crew(std::int64_t n, Body body) {
  const int most = threads_for(plan_->flops() * n, n);
  if (most == 1) return run_team(1, body);
  const auto start = Crew::Clock::now();
  int size = most;
  {
    std::lock_guard lock(free_in_children());
    size = crews_.of(n).next(most, seconds_for(plan_->flops() * n), start);
  }
  run_team(size, body);
  const auto end = Crew::Clock::now();
  std::lock_guard lock(free_in_children());
  crews_.of(n).add(size, static_cast<double>(n), std::chrono::duration<double>(end - start).count(), end);
}

template <class T> void Inference<T>::run_direct(const T* x, std::int64_t n, T* y) { run_here(x, nullptr, n, y); }

template <class T> void Inference<T>::run_few(const RowReader<T>& x, std::int64_t n, T* y) {
  run_here(nullptr, &x, n, y);
}

template <class T> void Inference<T>::run_here(const T* x, const RowReader<T>* reader, std::int64_t n, T* y) {
  auto worker = take();
  {
    FloatEnvironment environment;
    Frame<T>& frame = worker->frame;
    const int input = plan_->graph().inputs[0], output = plan_->graph().outputs[0];
    frame.bind_input(input, x);
    if (reader != nullptr && plan_->computed(input)) reader->read(nullptr, {0, n}, frame.value(input));
    for (std::size_t s = 0; s < plan_->steps().size(); ++s) frame.forward(s, {0, n}, worker->scratch.data());
    std::copy_n(frame.value(output), n * plan_->graph().size(output), y);
  }
  give(std::move(worker));
}

template class Inference<float>;
template class Inference<double>;

}  // namespace bp
