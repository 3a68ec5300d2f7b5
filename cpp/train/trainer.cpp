#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "plan/random.h"

namespace bp {

namespace {

template <class T> MetricConfig<T> bound(MetricConfig<T> metric, const BoundLoss<T>& loss, const Graph<T>& graph) {
  const Shape& shape = graph.shapes[static_cast<std::size_t>(loss.output)];
  metric.classes = shape.empty() ? 1 : shape.back();
  metric.steps = std::max<std::int64_t>(loss.config.steps, 1);
  metric.values = loss.positions * loss.target_width / metric.steps;
  if (loss.logits)
    metric.scores = loss.config.kind == Loss::kCrossEntropyLogits ? Scores::kClassLogits : Scores::kLogits;
  if (loss.config.kind == Loss::kHinge) metric.threshold = 2 * metric.threshold - 1;  // targets -1 and 1, not 0 and 1
  return metric;
}

template <class T>
std::shared_ptr<StepConfig<T>> with_needs(std::shared_ptr<StepConfig<T>> config,
                                          const std::vector<std::vector<MetricConfig<T>>>& metrics) {
  config->needs_values.assign(config->losses.size(), 0);
  for (std::size_t k = 0; k < metrics.size(); ++k) {
    for (const MetricConfig<T>& metric : metrics[k]) {
      config->needs_values[k] |= Metric<T>(metric).needs_values();
      config->between_may_throw |= metric.user != nullptr;
    }
  }
  return config;
}

}  // namespace

template <class T>
Trainer<T>::Trainer(std::shared_ptr<const Graph<T>> graph, std::shared_ptr<StepConfig<T>> config,
                    std::vector<std::vector<MetricConfig<T>>> metrics, std::shared_ptr<Counter> steps,
                    std::shared_ptr<Counter> draws)
    : steps_(std::move(steps)), draws_(std::move(draws)), graph_(graph),
      config_(with_needs(std::move(config), metrics)), step_(graph, config_, false), last_(&step_),
      states_(config_->carries) {
  for (std::size_t k = 0; k < metrics.size(); ++k) {
    metrics_.emplace_back();
    for (const MetricConfig<T>& metric : metrics[k])
      metrics_.back().emplace_back(bound(metric, config_->losses[k], *graph_));
  }
  metrics_.resize(config_->losses.size());
  reset_results();
}

template <class T> void Trainer<T>::reset_results() {
  results_ = {};
  results_.loss.assign(config_->losses.size(), 0.0);
  results_.terms.assign(config_->losses.size(), 0.0);
  has_flaw_ = goes_on_ = false;
  for (auto& of_output : metrics_) {
    for (Metric<T>& metric : of_output) metric.reset();
  }
}

template <class T> std::vector<std::vector<std::int64_t>> Trainer<T>::gathered_sizes(std::int64_t samples) const {
  std::vector<std::vector<std::int64_t>> sizes;
  for (std::size_t k = 0; k < metrics_.size(); ++k) {
    sizes.emplace_back();
    for (const Metric<T>& metric : metrics_[k])
      sizes.back().push_back(metric.gathered_size(samples < 0 ? samples_done() : samples));
  }
  return sizes;
}

template <class T>
void Trainer<T>::check_results(const Results<T>& results, const std::vector<std::vector<std::vector<double>>>& metrics,
                               std::int64_t samples) const {
  const std::int64_t done = samples < 0 ? samples_done() : samples;
  check(results.loss.size() == config_->losses.size() && metrics.size() == metrics_.size(),
        "gathered: got " + std::to_string(results.loss.size()) + " losses and metrics of " +
            std::to_string(metrics.size()) + " outputs, expected " + std::to_string(config_->losses.size()));
  check(results.samples == done, "gathered: got " + std::to_string(results.samples) + " samples, expected " +
                                     std::to_string(done) + ", those of the batches done");
  check(results.terms.size() == results.loss.size(),
        "gathered: got " + std::to_string(results.terms.size()) + " counts of terms, expected one for each loss");
  const auto sizes = gathered_sizes(done);
  for (std::size_t k = 0; k < sizes.size(); ++k) {
    const std::string where = "gathered: output " + std::to_string(k) + ": ";
    check(metrics[k].size() == sizes[k].size(),
          where + "got " + std::to_string(metrics[k].size()) + " metrics, expected " + std::to_string(sizes[k].size()));
    for (std::size_t i = 0; i < sizes[k].size(); ++i) {
      check(static_cast<std::int64_t>(metrics[k][i].size()) == sizes[k][i],
            where + "metric " + std::to_string(i) + ": got " + std::to_string(metrics[k][i].size()) +
                " numbers, expected " + std::to_string(sizes[k][i]));
      metrics_[k][i].check_gathered(metrics[k][i]);
    }
  }
}

template <class T>
void Trainer<T>::set_results(Results<T> results, const std::vector<std::vector<std::vector<double>>>& metrics,
                             std::int64_t samples) {
  check_results(results, metrics, samples);
  for (std::size_t k = 0; k < metrics.size(); ++k) {
    for (std::size_t i = 0; i < metrics[k].size(); ++i) metrics_[k][i].set_gathered(metrics[k][i]);
  }
  results_ = std::move(results);
}

template <class T> void Trainer<T>::take_results(const Trainer& other) {
  pending_ = other.pending_;
  if (pending_ > 0) step_.take_waiting(other.step_);
  results_ = other.results_;
  goes_on_ = other.goes_on_;
  has_flaw_ = other.has_flaw_, flaw_ = other.flaw_;
  for (std::size_t k = 0; k < metrics_.size(); ++k) {
    for (std::size_t i = 0; i < metrics_[k].size(); ++i) metrics_[k][i].set_gathered(other.metrics_[k][i].gathered());
  }
}

template <class T> void Trainer<T>::reset_states(bool stateful_too) {
  states_.reset({&step_, gradient_step_[0].get(), gradient_step_[1].get()}, stateful_too);
}

template <class T> void Trainer<T>::set_states(std::vector<State<T>> states) {
  reset_states();
  states_.set(std::move(states));
}

template <class T> void Trainer<T>::set_data(BatchSource<T> source) {
  source_ = std::move(source);
  samples_ = source_.n;
  batch_ = n_batches_ = 0;  // an order of other data would lead beyond these
}

template <class T> void Trainer<T>::drop_data() {
  source_ = {};
  batch_ = n_batches_ = 0;
}

template <class T>
void Trainer<T>::start_epoch(std::int64_t batch_size, bool shuffle, std::uint64_t seed, std::uint64_t epoch,
                             std::int64_t first_batch, bool update) {
  check(batch_size >= 1, "batch_size must be at least 1");
  if (shuffle && order_.size() != source_.n) order_ = Buffer<std::int64_t>(source_.n, "the order of all rows");
  batch_size_ = std::min(batch_size, std::max<std::int64_t>(source_.n, 1));
  const std::int64_t n_batches = (source_.n + batch_size_ - 1) / batch_size_;
  check(first_batch >= 0 && first_batch <= n_batches,
        "first_batch: got " + std::to_string(first_batch) + ", expected 0 to " + std::to_string(n_batches));
  n_batches_ = n_batches;
  batch_ = first_batch;
  update_ = update;
  shuffle_ = shuffle;
  pending_ = 0;
  more_ = false;
  has_diverged_ = false;
  if (shuffle) permutation({seed, epoch}, source_.n, order_.data());
  terms_ = count_terms(batch_size_, shuffle ? order_.data() : nullptr);
}

template <class T>
std::vector<double> Trainer<T>::count_terms(std::int64_t batch_size, const std::int64_t* order) const {
  std::vector<double> terms;
  const auto is_masked = [](const Valid<T>& valid) { return valid.count != nullptr; };
  if (std::none_of(source_.valid.begin(), source_.valid.end(), is_masked)) return terms;
  for (Rows batch{0, 0}; batch.begin < source_.n; batch.begin = batch.end) {
    batch.end = std::min(batch.begin + batch_size, source_.n);
    for (std::size_t k = 0; k < source_.valid.size(); ++k) {
      const Valid<T>& valid = source_.valid[k];
      std::int64_t positions = config_->losses[k].positions, steps = batch.count();
      if (is_masked(valid)) {
        positions /= valid.mask.row_size(), steps = 0;
        for (std::int64_t i = batch.begin; i < batch.end; ++i) steps += valid.count[order == nullptr ? i : order[i]];
      }
      terms.push_back(static_cast<double>(steps * positions));
    }
  }
  return terms;
}

template <class T> void Trainer<T>::start_part(bool first) {
  const std::int64_t pending = first ? 0 : pending_;
  start_epoch(std::numeric_limits<std::int64_t>::max(), false, 0, 0, 0, true);
  pending_ = pending;
  more_ = true;
}

template <class T> void Trainer<T>::flush(double rate) {
  if (pending_ == 0) return;
  BatchJob<T> job{};
  job.training = job.update = job.add_gradients = true;
  job.gradient_scale = 1.0 / static_cast<double>(pending_);
  job.learning_rate = rate;
  job.step = steps_->get() + 1;
  const bool sound = step_.finish(job);
  step_.note_change();
  pending_ = 0;
  has_diverged_ = !sound;
  if (sound) {
    steps_->add(1);
  } else {
    diverged_ = {std::max<std::int64_t>(batch_ - 1, 0), -1, step_.flaw_of_update()};
  }
}

template <class T> bool Trainer<T>::apply(const std::vector<const T*>& gradients, double rate) {
  BatchJob<T> job{};
  job.training = job.update = job.add_gradients = true;
  job.gradient_scale = 1;
  job.learning_rate = rate;
  job.step = steps_->get() + 1;
  step_.penalties().refresh();
  has_diverged_ = !step_.apply(job, gradients);
  if (has_diverged_) {
    has_diverged_ = step_.penalties().flaw().empty();
    if (!has_diverged_) return false;
    diverged_ = {-1, -1, step_.flaw_of_update()};
    return true;
  }
  step_.note_change();
  steps_->add(1);
  return true;
}

template <class T> BatchJob<T> Trainer<T>::next_job(std::int64_t batch, std::int64_t pending, double rate) const {
  BatchJob<T> job{};
  job.source = &source_;
  job.order = shuffle_ ? order_.data() : nullptr;
  job.rows = {batch * batch_size_, std::min((batch + 1) * batch_size_, source_.n)};
  job.training = update_;
  job.add_gradients = pending > 0;
  job.update = pending + 1 == config_->accumulate_steps || (batch + 1 == n_batches_ && !more_);
  job.gradient_scale = 1.0 / static_cast<double>(pending + 1);
  job.learning_rate = rate;
  if (!terms_.empty()) job.counted = terms_.data() + static_cast<std::size_t>(batch) * config_->losses.size();
  return job;
}

template <class T> struct Trainer<T>::Slice {
  const double* rates;
  std::int64_t n_rates, until, first, first_step, first_draw;
  Crew::Clock::time_point end_time, since;
  // Written by rank 0 while the others read what is around it.
  alignas(64) bool stop = false;
  bool leave = false;     // this team
  std::int64_t used = 0;  // rates
  bool flawed = false;    // an evaluation whose losses were finite so far: its slice ends here
};

template <class T>
std::int64_t Trainer<T>::run(const double* rates, std::int64_t n_rates, std::int64_t max_batches, double seconds) {
  const auto start = Crew::Clock::now();
  const std::int64_t until = max_batches < 0 ? n_batches_ : std::min(n_batches_, batch_ + max_batches);
  if (batch_ >= until || (update_ && n_rates < 1)) return 0;
  const int threads = step_.threads(batch_size_, update_);
  step_.prepare(source_, batch_size_, threads, update_, static_cast<std::uint64_t>(draws_->get()));
  last_ = &step_;
  if (update_) states_.begin(step_, std::min(batch_size_, source_.n - batch_ * batch_size_));
  step_.penalties().refresh();
  if (!update_ && results_.samples == 0) still_penalty_ = step_.penalties().value_now();
  const auto slice_time = std::chrono::duration<double>(std::min(seconds, 1e9));
  Slice slice{rates,
              n_rates,
              until,
              batch_,
              steps_->get(),
              draws_->get(),
              start + std::chrono::duration_cast<Crew::Clock::duration>(slice_time),
              start};
  if (update_) step_.note_change();  // now: an interrupt may end the slice after some of its batches
  Crew& crew = crews_[update_].of(batch_size_);
  while (!slice.stop) {
    slice.since = Crew::Clock::now();
    run_slice(slice, crew, crew.next(threads, step_.seconds(batch_size_, update_), slice.since));
  }
  if (has_diverged_) diverged_ = report(batch_);
  if (slice.flawed) {
    has_flaw_ = true;
    flaw_ = report(batch_ - 1);
  }
  return batch_ - slice.first;
}

template <class T> void Trainer<T>::run_slice(Slice& slice, Crew& crew, int size) {
  slice.leave = false;
  int members = size;  // fewer where the system gives fewer
  const auto spent = [&] {
    const auto now = Crew::Clock::now();
    const double seconds = std::chrono::duration<double>(now - slice.since).count();
    slice.since = now;
    return seconds;
  };
  run_team(size, [&](Team& team) {
    // Every member counts along; rank 0 alone writes what the others see, between the step's two barriers.
    std::int64_t batch = batch_, pending = pending_, taken = slice.used;
    for (bool go_on = true; go_on;) {
      BatchJob<T> job = next_job(batch, pending, update_ ? slice.rates[slice.n_rates == 1 ? 0 : taken] : 0.0);
      job.step = slice.first_step + taken + 1;
      job.draw = static_cast<std::uint64_t>(slice.first_draw + batch - slice.first);
      job.commit = update_;
      step_.run(team, job, [&](bool sound) {
        if (!sound && update_) {
          has_diverged_ = slice.stop = slice.leave = true;
          return;
        }
        slice.flawed = !sound && !has_flaw_;
        results_.last_loss = add_results(step_.outputs(), job, true);
        batch_ = batch + 1;
        pending_ = job.update ? 0 : pending + 1;
        slice.used += job.update;
        if (update_ && job.update) steps_->add(1);
        if (update_) draws_->add(1);
        const double seconds = spent();
        members = team.size;
        const bool no_rate = update_ && slice.n_rates > 1 && slice.used >= slice.n_rates;
        slice.stop = slice.flawed || batch + 1 >= slice.until || no_rate || slice.since >= slice.end_time;
        slice.leave = crew.add(team.size, static_cast<double>(job.rows.count()), seconds, slice.since) || slice.stop;
      });
      // The last barrier of run() is behind us: the slice is what rank 0 decided, on every member.
      if (team.rank == 0 && !has_diverged_ && step_.penalties().any()) {
        add_penalty(update_ ? step_.penalties().value() : still_penalty_, job.rows.count());
      }
      go_on = !slice.leave;
      taken += job.update;
      pending = job.update ? 0 : pending + 1;
      ++batch;
    }
  });
  crew.add(members, 0, spent(), slice.since);  // the last update, and the team's end
}

// Where the last batch, of this number, became not finite.
template <class T> DivergedReport Trainer<T>::report(std::int64_t batch) {
  step_.fill_frame();
  DivergedReport found;
  found.batch = batch;
  found.flaw = step_.first_flaw(std::min((batch + 1) * batch_size_, source_.n) - batch * batch_size_);
  const std::int64_t place = batch * batch_size_ + found.flaw.row;
  found.sample = found.flaw.row < 0 ? -1 : shuffle_ ? order_[place] : place;
  return found;
}

template <class T> void Trainer<T>::take_evaluation(const Outputs<T>& outputs) {
  reset_results();
  start_epoch(source_.n, false, 0, 0, 0, false);
  results_.last_loss = add_results(outputs, next_job(0, 0, 0), true);
  batch_ = n_batches_;
  if (!step_.penalties().any()) return;
  step_.penalties().refresh();
  add_penalty(step_.penalties().value_now(), source_.n);
}

template <class T>
double Trainer<T>::add_results(const Outputs<T>& outputs, const BatchJob<T>& job, bool count_metrics) {
  const std::int64_t n = job.rows.count();
  double total = 0;
  for (std::size_t k = 0; k < config_->losses.size(); ++k) {
    const BoundLoss<T>& loss = config_->losses[k];
    double sum = 0;
    for (std::int64_t r = 0; r < n * loss.positions; ++r) sum += static_cast<double>(outputs.row_loss(k)[r]);
    const bool of_samples = loss.config.steps == 0;
    double terms = of_samples ? static_cast<double>(n) : job.terms(k, loss.positions);
    if (loss.config.sum) {
      sum *= loss.values_of_row();
      terms = 1;
    } else if (of_samples) {
      sum /= static_cast<double>(std::max<std::int64_t>(loss.positions, 1));
    }
    total += loss.config.weight * sum / std::max(terms, 1.0);
    if (!count_metrics) continue;
    results_.loss[k] += sum;
    results_.terms[k] = loss.config.sum ? 1 : results_.terms[k] + terms;
    const OutputBatch<T> batch = outputs.batch(k, n);
    for (Metric<T>& metric : metrics_[k]) metric.add(batch);
  }
  if (count_metrics) results_.samples += n;
  return total;
}

template <class T> void Trainer<T>::add_penalty(double penalty, std::int64_t n) {
  results_.penalty += static_cast<double>(n) * penalty;
  results_.last_loss += penalty;
}

template <class T> double Trainer<T>::gradients(bool wrt_inputs, bool training) {
  auto& own = gradient_step_[wrt_inputs];
  if (own == nullptr) {
    auto made = std::make_unique<TrainingStep<T>>(graph_, config_, wrt_inputs);
    made->materialise();
    own = std::move(made);
  }
  const int threads = own->threads(source_.n, true);
  own->prepare(source_, source_.n, threads, training, static_cast<std::uint64_t>(draws_->get()));
  last_ = own.get();
  states_.begin(*own, source_.n);
  has_diverged_ = false;
  own->penalties().refresh();
  const std::vector<double> terms = count_terms(source_.n, nullptr);
  BatchJob<T> job{};
  if (!terms.empty()) job.counted = terms.data();
  job.source = &source_;
  job.rows = {0, source_.n};
  job.training = true;
  job.gradient_scale = 1;
  double total = 0;
  const auto units = static_cast<double>(source_.n);
  run_crew(crews_[2].of(source_.n), threads, own->seconds(source_.n, true), units, [&](Team& team) {
    own->run(team, job, [&](bool sound) {
      has_diverged_ = !sound;
      total = add_results(own->outputs(), job, false);
    });
  });
  own->fill_frame();
  if (has_diverged_) {
    diverged_.batch = 0;
    diverged_.flaw = own->first_flaw(source_.n);
    diverged_.sample = diverged_.flaw.row;
  }
  return total + (own->penalties().any() ? own->penalties().value() : 0);
}

template <class T> std::string Trainer<T>::describe() {
  std::string text = step_.describe(batch_size_);
  const std::string measured = exact_threads() ? "an exact number was asked for" : crews_[1].of(batch_size_).explain();
  if (!measured.empty() && step_.threads(batch_size_, true) > 1) text += "  threads in use: " + measured + "\n";
  return text;
}

template <class T> BatchProfile Trainer<T>::profile() {
  step_.prepare(source_, source_.n, 1, true, static_cast<std::uint64_t>(draws_->get()));
  last_ = &step_;
  const std::vector<double> terms = count_terms(source_.n, nullptr);
  BatchJob<T> job{};
  if (!terms.empty()) job.counted = terms.data();
  job.source = &source_;
  job.rows = {0, source_.n};
  job.training = job.update = true;
  job.gradient_scale = 1;
  job.learning_rate = 1e-3;  // 0 would spare a step the work; the weights are a copy
  job.step = 1;
  BatchProfile found;
  run_team(1, [&](Team& alone) { found = step_.probe().profile(alone, job); });
  return found;
}

template class Trainer<float>;
template class Trainer<double>;

}  // namespace bp
