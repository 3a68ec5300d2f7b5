#include "plan/stream.h"

#include <algorithm>

#include "base/threads.h"

namespace bp {
namespace {

template <class T> std::shared_ptr<const Plan<T>> plan_of(std::shared_ptr<const Graph<T>> graph) {
  check(graph->inputs.size() == 1 && graph->outputs.size() == 1, "a stream has one input and one output");
  const std::vector<int> outputs = graph->outputs;
  return std::make_shared<Plan<T>>(std::move(graph), outputs, std::vector<int>{}, PlanOptions{});
}

}  // namespace

template <class T>
Stream<T>::Stream(std::shared_ptr<const Graph<T>> graph, std::int64_t rows)
    : plan_(plan_of(std::move(graph))), rows_(rows), frame_(plan_, rows), scratch_(plan_->scratch_size(rows, rows)) {
  frame_.carry(true);
}

template <class T> void Stream<T>::run(const T* x, const RowReader<T>* reader, T* y) {
  FloatEnvironment environment;
  const int input = plan_->graph().inputs[0], output = plan_->graph().outputs[0];
  frame_.bind_input(input, x);
  if (reader != nullptr && plan_->computed(input)) reader->read(nullptr, {0, rows_}, frame_.value(input));
  for (std::size_t s = 0; s < plan_->steps().size(); ++s) frame_.forward(s, {0, rows_}, scratch_.data());
  frame_.keep_carried();
  std::copy_n(frame_.value(output), rows_ * plan_->graph().size(output), y);
}

template class Stream<float>;
template class Stream<double>;

}  // namespace bp
