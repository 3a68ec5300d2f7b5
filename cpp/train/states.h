// What ops carry from training batch to training batch, as data that go from one holder to another: a frame, a file.
#pragma once

#include <map>

#include "train/step.h"

namespace bp {

// Of what an op carries: "name/number", where the number counts such ops of one name.
class StateKeys {
 public:
  std::string next(const std::string& name) { return name + "/" + std::to_string(count_[name]++); }

 private:
  std::map<std::string, int> count_;
};

template <class T> struct State {
  std::string key;
  std::int64_t rows = 0;
  std::vector<T> values;  // (rows, numbers)
};

template <class T> class States {
 public:
  explicit States(Carries which) : which_(which) {}

  // None where the next batch begins with zeros; step: the one that ran last.
  std::vector<State<T>> get(TrainingStep<T>& step) const;
  // The next batch begins with these, and zeros where there is none, or where it is not of this model.
  void set(std::vector<State<T>> states);
  // The next batch begins with zeros, in all ops or in those that are not stateful; step: each that has run, or null.
  void reset(const std::vector<TrainingStep<T>*>& steps, bool stateful_too);
  void begin(TrainingStep<T>& step, std::int64_t rows);  // before a training batch

 private:
  struct Key {
    std::string key;
    bool stateful;
  };
  std::vector<Key> keys(const Plan<T>& plan) const;  // as a frame has them
  // Those that what is given may be of; none where nothing is, so that most batches look for no names.
  std::vector<Key> given_keys(const Plan<T>& plan) const { return given_.empty() ? std::vector<Key>() : keys(plan); }

  Carries which_;
  std::vector<State<T>> given_;  // for the next batch
  std::int64_t rows_ = 0;        // of the batch whose states the frame has; 0: zeros
};

template <class T> std::vector<typename States<T>::Key> States<T>::keys(const Plan<T>& plan) const {
  std::vector<Key> found;
  StateKeys all;
  for (const Step<T>& step : plan.steps()) {
    if (step.op->sizes().carried == 0) continue;
    std::string key = all.next(step.name);
    const bool stateful = step.op->facts().stateful;
    if (which_ == Carries::kAll || stateful) found.push_back({std::move(key), stateful});
  }
  return found;
}

template <class T> std::vector<State<T>> States<T>::get(TrainingStep<T>& step) const {
  if (!given_.empty()) return given_;
  std::vector<State<T>> found;
  const Frame<T>* const frame = step.frame();
  if (frame == nullptr || rows_ == 0) return found;
  const std::vector<Key> names = keys(step.plan());
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto& of = frame->carried(i);
    found.push_back({names[i].key, rows_, {of.in.data(), of.in.data() + rows_ * of.size}});
  }
  return found;
}

template <class T> void States<T>::set(std::vector<State<T>> states) {
  given_ = std::move(states);
  rows_ = 0;
}

template <class T> void States<T>::reset(const std::vector<TrainingStep<T>*>& steps, bool stateful_too) {
  if (stateful_too) set({});
  for (TrainingStep<T>* step : steps) {
    if (step == nullptr) continue;
    for (const Key& of : given_keys(step->plan())) {
      const auto drops = [&](const State<T>& state) { return state.key == of.key && !of.stateful; };
      given_.erase(std::remove_if(given_.begin(), given_.end(), drops), given_.end());
    }
    if (step->frame() != nullptr) step->frame()->drop_carried(stateful_too);
  }
}

template <class T> void States<T>::begin(TrainingStep<T>& step, std::int64_t rows) {
  if (which_ == Carries::kNothing) return;
  const std::vector<Key> names = given_keys(step.plan());
  for (std::size_t i = 0; i < names.size(); ++i) {
    auto& of = step.frame()->carried(i);
    for (const State<T>& state : given_) {
      if (state.key != names[i].key) continue;
      check(state.rows == rows && static_cast<std::int64_t>(state.values.size()) == rows * of.size,
            "the state " + state.key + " is not of this batch");
      std::copy_n(state.values.data(), state.values.size(), of.in.data());
    }
  }
  given_.clear();
  rows_ = rows;
}

}  // namespace bp
