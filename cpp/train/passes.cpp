#include "train/passes.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> std::shared_ptr<const StepConfig<T>> handed(const Graph<T>& graph) {
  auto config = std::make_shared<StepConfig<T>>();
  config->handed = graph.outputs;
  config->carries = Carries::kStateful;
  return config;
}

}  // namespace

template <class T>
Passes<T>::Passes(std::shared_ptr<const Graph<T>> graph, std::shared_ptr<Counter> draws)
    : graph_(graph), draws_(std::move(draws)), step_(graph, handed(*graph), true) {}

template <class T>
std::optional<NonFinite> Passes<T>::forward(const BatchSource<T>& source, bool training, bool settled) {
  state_ = State::kNone;
  unsettled_ = false;
  n_ = source.n;
  const int threads = step_.threads(n_, true);
  const auto draw = static_cast<std::uint64_t>(draws_->get());
  step_.prepare(source, n_, threads, training, draw);
  if (training) states_.begin(step_, n_);
  step_.frame()->use_carried(training);
  job_ = {};
  job_.source = &source;
  job_.rows = {0, n_};
  job_.training = training;
  job_.commit = false;
  job_.draw = draw;
  if (!step_.forward(job_, threads, crews_[0].of(n_))) return step_.flaw_in_forward(n_);
  unsettled_ = training;
  if (settled) {
    settle();
  } else if (training) {
    step_.frame()->commit(n_, false);  // so that settle() cannot fail
  }
  changes_ = graph_->changes();
  thread_ = std::this_thread::get_id();
  state_ = State::kKept;
  return std::nullopt;
}

template <class T> void Passes<T>::settle() {
  if (!unsettled_) return;
  unsettled_ = false;
  step_.frame()->commit(n_);
  step_.frame()->keep_carried();
  draws_->add(1);
}

template <class T> void Passes<T>::set_states(std::vector<bp::State<T>> states) {
  reset_states(true);
  states_.set(std::move(states));
}

template <class T> typename Passes<T>::State Passes<T>::state() const {
  if (state_ != State::kKept) return state_;
  if (thread_ != std::this_thread::get_id()) return State::kForeign;
  return changes_ == graph_->changes() ? State::kKept : State::kChanged;
}

template <class T>
std::optional<std::pair<std::size_t, std::int64_t>> Passes<T>::take_deltas(const std::vector<RowReader<T>>& dys) {
  std::vector<const T*> seen;
  for (std::size_t k = 0; k < dys.size(); ++k) {
    T* const delta = step_.gradient(graph_->outputs[k]);
    const std::int64_t size = dys[k].row_size();
    const bool again = std::find(seen.begin(), seen.end(), delta) != seen.end();  // an output given twice
    T* to = delta;
    if (delta == nullptr || again) {
      added_.resize(static_cast<std::size_t>(n_ * size));
      to = added_.data();
    }
    dys[k].read(nullptr, {0, n_}, to);
    if (!kernels<T>().all_finite(to, n_ * size)) {
      std::int64_t row = 0;
      while (kernels<T>().all_finite(to + row * size, size)) ++row;
      return std::make_pair(k, row);
    }
    if (delta != nullptr && again) kernels<T>().axpy(T(1), to, delta, n_ * size);
    seen.push_back(delta);
  }
  return std::nullopt;
}

template <class T> std::optional<NonFinite> Passes<T>::backward(const std::vector<T*>& to, bool inputs) {
  state_ = State::kUsed;
  job_.wrt_inputs = inputs;
  if (step_.backward(job_, step_.threads(n_, true), to, crews_[1].of(n_))) return std::nullopt;
  return step_.first_flaw(n_);
}

template class Passes<float>;
template class Passes<double>;

}  // namespace bp
