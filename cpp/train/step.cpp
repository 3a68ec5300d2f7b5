#include "train/step.h"

#include <algorithm>

namespace bp {
namespace {

constexpr std::int64_t kElementsPerThread = 64 << 10;  // Adam takes 12 us for them

template <class T>
std::shared_ptr<const Plan<T>> training_plan(std::shared_ptr<const Graph<T>> graph, const StepConfig<T>& config,
                                             bool wrt_inputs) {
  std::vector<int> targets, losses;
  for (const BoundLoss<T>& loss : config.losses) {
    targets.push_back(loss.prediction);
    losses.push_back(loss.prediction);
    if (!config.fuse) targets.push_back(loss.output);
  }
  for (const ValueLoss& objective : config.objectives) {
    targets.push_back(objective.value);
    losses.push_back(objective.value);
  }
  targets.insert(targets.end(), config.handed.begin(), config.handed.end());
  losses.insert(losses.end(), config.handed.begin(), config.handed.end());
  PlanOptions options;
  options.training = true;
  options.fuse = config.fuse;
  options.wrt_inputs = wrt_inputs;
  return std::make_shared<Plan<T>>(std::move(graph), targets, losses, options);
}

}  // namespace

template <class T>
TrainingStep<T>::TrainingStep(std::shared_ptr<const Graph<T>> graph, std::shared_ptr<const StepConfig<T>> config,
                              bool wrt_inputs)
    : work_{graph, config, training_plan<T>(graph, *config, wrt_inputs), nullptr, 0, {}, false, false}, outputs_(work_),
      relay_(work_, outputs_), tiles_(*work_.plan, relay_.param()), schedule_(work_, outputs_, relay_),
      update_(work_, tiles_, relay_) {
  relay_.share_out(tiles_);
}

template <class T> std::int64_t TrainingStep<T>::flops(std::int64_t n, bool training) const {
  return (training ? 3 : 1) * work_.plan->flops() * n;  // backward and accumulate: each as much as forward
}

template <class T> int TrainingStep<T>::threads(std::int64_t n, bool training) const {
  const int by_work = threads_for(flops(n, training));
  if (work_.plan->mostly_by_columns()) return by_work;
  // Few samples, but many weights: the update is divided whatever the samples are.
  const auto by_update =
      static_cast<int>(training ? std::min<std::int64_t>(tiles_.elements() / kElementsPerThread, by_work) : 0);
  return std::max(threads_for(flops(n, training), n), by_update);
}

template <class T> int TrainingStep<T>::threads_of_update() const {
  return static_cast<int>(std::clamp<std::int64_t>(tiles_.elements() / kElementsPerThread, 1, num_threads()));
}

template <class T>
void TrainingStep<T>::prepare(const BatchSource<T>& source, std::int64_t n, int threads, bool training,
                              std::uint64_t draw) {
  work_.clear();  // a step that ended by an exception may have left something set
  make_frame(n);
  make_scratch(threads);
  const bool goes_back = training || !work_.config->handed.empty();
  schedule_.prepare(source, n, goes_back);
  update_.prepare(n, goes_back);
  const bool apart = !work_.config->handed.empty() || work_.config->in_stretches;  // forward and backward
  if (!apart) relay_.prepare(source, n, threads, training && !schedule_.is_long(), draw);
  outputs_.prepare(source);
  work_.frame->set_training(training);
  work_.frame->set_draw(draw);
}

template <class T> void TrainingStep<T>::make_frame(std::int64_t n) {
  const bool grows = n > work_.capacity;
  if (!grows && work_.frame != nullptr && work_.frame->capacity() >= n) return;
  if (grows) {
    work_.capacity = 0;  // until all is there: without memory for the rest the next call begins anew
    work_.scratch.clear();
  }
  auto frame = std::make_unique<Frame<T>>(work_.plan, n);
  if (work_.config->carries != Carries::kNothing) {
    frame->carry(work_.config->carries == Carries::kAll);
    if (work_.frame != nullptr) frame->take_carried(*work_.frame);
  }
  work_.frame = std::move(frame);
  if (!grows) return;
  outputs_.make_room(n);
  work_.capacity = n;
}

template <class T> void TrainingStep<T>::make_scratch(int threads) {
  if (static_cast<int>(work_.scratch.size()) >= threads) return;
  update_.make_room(threads);
  const std::int64_t size = align_up<T>(std::max(schedule_.scratch(work_.capacity), update_.scratch(work_.capacity)));
  while (static_cast<int>(work_.scratch.size()) < threads) work_.scratch.emplace_back(size, kUnwritten);
}

template <class T> bool TrainingStep<T>::forward(const BatchJob<T>& job, int threads, Crew& crew) {
  const std::int64_t n = job.rows.count();
  run_crew(crew, threads, seconds(n, false), static_cast<double>(n), [&](Team& team) { schedule_.forward(team, job); });
  for (int value : work_.config->handed) {
    if (!kernels<T>().all_finite(work_.frame->value(value), job.rows.count() * work_.graph->size(value))) work_.flaw();
  }
  const bool sound = !take_flaw();
  if (sound && job.commit) work_.frame->commit(job.rows.count());
  return sound;
}

template <class T>
bool TrainingStep<T>::backward(const BatchJob<T>& job, int threads, const std::vector<T*>& to, Crew& crew) {
  const std::int64_t n = job.rows.count();
  work_.frame->want_inputs(job.wrt_inputs);
  run_crew(crew, threads, 2 * seconds(n, false), static_cast<double>(n), [&](Team& team) {
    schedule_.backward(team, job);
    team.barrier();  // every delta is known
    if (!to.empty() && !work_.flawed.load(std::memory_order_relaxed)) update_.add_gradients(team, n, to);
  });
  return !take_flaw();
}

template <class T>
bool TrainingStep<T>::go_back(std::int64_t n, const Frame<T>* behind, const Backward& how, int threads, Crew& crew) {
  work_.clear();
  make_scratch(threads);
  schedule_.prepare({}, n, true);
  update_.prepare(n, true);
  Frame<T>& frame = *work_.frame;
  for (const BoundLoss<T>& loss : work_.config->losses) {
    T* const delta = frame.gradient(loss.prediction);
    if (!how.losses && delta != nullptr) std::fill_n(delta, n * work_.graph->size(loss.prediction), T(0));
  }
  BatchJob<T> job{};
  job.rows = {0, n};
  job.training = true;
  job.add_gradients = how.add;
  penalties().rest(!how.penalties);
  if (how.penalties) look_at_penalties();
  frame.go_back(behind, n, copy_);
  run_crew(crew, threads, 2 * seconds(n, false), static_cast<double>(n), [&](Team& team) {
    schedule_.backward(team, job);
    team.barrier();  // every delta is known
    if (!work_.flawed.load(std::memory_order_relaxed)) update_.collect(team, job);
  });
  frame.go_on();
  penalties().rest(false);
  return !take_flaw();
}

template <class T> bool TrainingStep<T>::apply(const BatchJob<T>& job, const std::vector<const T*>& from) {
  materialise();
  work_.clear();
  look_at_penalties();
  return update_alone(job, [&](Team& team) { update_.take_gradients(team, from); });
}

template <class T> bool TrainingStep<T>::finish(const BatchJob<T>& job) {
  work_.clear();
  work_.doubt_gradients();  // nobody has looked at their sum
  return update_alone(job, [](Team&) {});
}

template <class T> template <class First> bool TrainingStep<T>::update_alone(const BatchJob<T>& job, First&& first) {
  const int threads = threads_of_update();
  make_scratch(threads);
  update_.measure();
  bool sound = !work_.flawed.load(std::memory_order_relaxed);
  constexpr double kSecondsPerWeight = 1e-9;
  const auto elements = static_cast<double>(tiles_.elements());
  if (sound) {
    run_crew(applying_, threads, kSecondsPerWeight * elements, elements, [&](Team& team) {
      first(team);
      const bool here = complete(team, job);
      if (team.rank == 0) sound = here;
    });
  }
  work_.clear();
  return sound;
}

// From gradients that are there.
template <class T> bool TrainingStep<T>::complete(Team& team, const BatchJob<T>& job) {
  update_.look(team, job);
  team.barrier();
  const bool collected = update_.begin(team, job);
  const bool doubtful = work_.doubtful.load(std::memory_order_relaxed);
  const bool sound = !doubtful || update_.try_out(team, job, collected);
  if (!doubtful) {
    update_.run(team, job, collected);
  } else if (sound) {
    update_.take_over(team, job);
  }
  if (sound) update_.align_signs(team);
  return sound;
}

template <class T> void TrainingStep<T>::look_at_penalties() {
  const double most = penalties().call();
  if (!(most <= kLargest<T>)) work_.flaw();
  if (!(most <= kCalm<T>)) work_.doubt();
}

template <class T> void TrainingStep<T>::note_change() {
  work_.graph->note_change();
  update_.note_own_change();
}

template <class T> std::string TrainingStep<T>::describe(std::int64_t n) const {
  const Plan<T>& plan = *work_.plan;
  std::string text = plan.describe();
  for (const BoundLoss<T>& loss : work_.config->losses) text += "  loss: " + bp::describe(loss) + "\n";
  text += update_.materialised() ? "  gradients: materialised (clipping, accumulation, a long batch, or asked for)\n"
                                 : "  gradients: tile by tile, fused with the optimizer's update\n";
  if (schedule_.always_doubts())
    text += "  gradients: all are looked at before the update, as nothing bounds those of some layer\n";
  if (update_.always_doubts()) text += "  updates: on a copy first, as nothing bounds what a constraint gives\n";
  text += "  tiles of parameters: " + std::to_string(tiles_.count()) + ", barriers a step: ";
  text += update_.constraints().any() ? "3, the third before constraints" : "2";
  text += plan.whole_batch() ? " and two around each call that sees all rows\n" : "\n";
  text += "  threads at batch " + std::to_string(n) + ": " + std::to_string(threads(n, true)) + "\n";
  if (relay_.pays(threads(n, true), n)) {
    text +=
        "  " + plan.steps()[0].name + " in forward: passed from thread to thread, each with its rows of the weights\n";
  }
  if (work_.frame != nullptr) text += "  arena: " + std::to_string(bytes()) + " bytes\n";
  return text;
}

template class TrainingStep<float>;
template class TrainingStep<double>;

}  // namespace bp
