// Of the trainer: a pass over stretches of sequences.
#include "train/stretch.h"

#include <algorithm>

#include "train/trainer.h"

namespace bp {
namespace {

// A stretch's frame in the place of the step's.
template <class T> class Framed {
 public:
  Framed(TrainingStep<T>& step, Stretch<T>& stretch) : step_(step), stretch_(stretch) {
    step_.swap_frame(stretch_.frame);
  }
  ~Framed() { step_.swap_frame(stretch_.frame); }
  Framed(const Framed&) = delete;
  Framed& operator=(const Framed&) = delete;

 private:
  TrainingStep<T>& step_;
  Stretch<T>& stretch_;
};

template <class T> void put_back(const Frame<T>& frame, const std::vector<T>& before) {
  const T* from = before.data();
  frame.each_committed([&](T* w, std::int64_t size) {
    std::copy_n(from, size, w);
    from += size;
  });
}

}  // namespace

// steps: by output, how many steps count in the pass, of which this is a part; counts: its losses are of the pass, the
// first stretch of which it is if no sample of it has been counted.
template <class T>
void Trainer<T>::forward(Stretch<T>& stretch, const Stretch<T>* before, const std::vector<std::int64_t>& steps,
                         bool counts) {
  const std::int64_t n = source_.n;
  check(n > 0, "a stretch: the trainer has no data");
  check(before == nullptr || before->rows == n, "a stretch goes on from one of other samples");
  check(steps.size() == config_->losses.size() && config_->objectives.empty(), "stretches: one count by output");
  stretch.rows = 0;
  const Framed<T> framed(step_, stretch);
  batch_size_ = n, n_batches_ = 1, batch_ = 0, shuffle_ = false, has_diverged_ = false;
  const int threads = step_.threads(n, true);
  BatchJob<T> job{};
  job.draw = static_cast<std::uint64_t>(draws_->get());
  step_.prepare(source_, n, threads, true, job.draw);
  last_ = &step_;
  Frame<T>& frame = *step_.frame();
  frame.drop_carried();
  if (before != nullptr) frame.take_carried(*before->frame);
  const std::vector<double> own = count_terms(n, nullptr);
  check(own.size() == steps.size(), "stretches: every output needs steps that count");
  std::vector<double> all;
  for (std::size_t k = 0; k < steps.size(); ++k) {
    const std::int64_t positions = config_->losses[k].positions / source_.valid[k].mask.row_size();
    all.push_back(static_cast<double>(steps[k] * positions));
  }
  job.source = &source_;
  job.rows = {0, n};
  job.training = job.commit = true;
  job.counted = all.data(), job.own = own.data();
  stretch.before.clear();
  frame.each_committed(
      [&](const T* w, std::int64_t size) { stretch.before.insert(stretch.before.end(), w, w + size); });
  try {
    has_diverged_ = !step_.forward(job, threads, crews_[1].of(n));
    if (has_diverged_) diverged_ = report(0);
  } catch (const BadStatistics& error) {
    has_diverged_ = true;
    diverged_ = {0, -1, {error.layer, "statistics"}};
  }
  if (has_diverged_) return;
  frame.keep_carried();
  try {
    if (counts) count_stretch(job);
  } catch (...) {  // of a metric in Python
    put_back(frame, stretch.before);
    throw;
  }
  draws_->add(1);
  stretch.rows = n;
}

// `job.counted` is of the pass, `job.own` of the stretch.
template <class T> void Trainer<T>::count_stretch(BatchJob<T> job) {
  const double loss = add_results(step_.outputs(), job, false);
  job.counted = job.own;
  const std::int64_t samples = results_.samples + (goes_on_ ? 0 : job.rows.count());
  add_results(step_.outputs(), job, true);
  results_.samples = samples;
  results_.last_loss = (goes_on_ ? results_.last_loss : 0) + loss;
  goes_on_ = true;
}

template <class T> void Trainer<T>::undo(const Stretch<T>& stretch) {
  check(stretch.rows > 0, "undo: a stretch has not been gone through");
  put_back(*stretch.frame, stretch.before);
  draws_->add(-1);
}

template <class T> void Trainer<T>::backward(Stretch<T>& stretch, const Stretch<T>* behind, const Backward& how) {
  const std::int64_t n = stretch.rows;
  check(n > 0 && (behind == nullptr || behind->rows == n), "backward: a stretch has not been gone through");
  const Framed<T> framed(step_, stretch);
  last_ = &step_;
  step_.penalties().refresh();
  const Frame<T>* const from = behind == nullptr ? nullptr : behind->frame.get();
  has_diverged_ = !step_.go_back(n, from, how, step_.threads(n, true), crews_[2].of(n));
  if (has_diverged_) {
    diverged_ = {0, -1, step_.first_flaw(n)};
    diverged_.sample = diverged_.flaw.row;
  } else if (how.penalties && step_.penalties().any()) {
    add_penalty(step_.penalties().value(), n);
  }
}

template <class T> void Trainer<T>::make_room(Stretch<T>& stretch, std::int64_t rows) {
  const Framed<T> framed(step_, stretch);
  step_.make_frame(rows);
  step_.frame()->set_training(true);
  stretch.rows = rows;
}

template <class T> void Trainer<T>::end_pass(double rate) {
  goes_on_ = has_diverged_ = false;
  if (++pending_ == config_->accumulate_steps) flush(rate);
}

#define BP_INSTANTIATE(T)                                                                                    \
  template void Trainer<T>::forward(Stretch<T>&, const Stretch<T>*, const std::vector<std::int64_t>&, bool); \
  template void Trainer<T>::backward(Stretch<T>&, const Stretch<T>*, const Backward&);                       \
  template void Trainer<T>::count_stretch(BatchJob<T>);                                                      \
  template void Trainer<T>::undo(const Stretch<T>&);                                                         \
  template void Trainer<T>::make_room(Stretch<T>&, std::int64_t);                                            \
  template void Trainer<T>::end_pass(double);
BP_INSTANTIATE(float)
BP_INSTANTIATE(double)
#undef BP_INSTANTIATE

}  // namespace bp
