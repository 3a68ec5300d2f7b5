// What an epoch has gathered so far, from the dict in which a trainer's gathered() gives it and a checkpoint keeps it.
#pragma once

#include "bind/array.h"
#include "bind/diverged.h"
#include "train/trainer.h"

namespace bp {

template <class T> struct Gathered {
  explicit Gathered(const py::dict& dict) {
    results.loss = dict["loss"].cast<std::vector<double>>();
    results.penalty = dict["penalty"].cast<double>();
    results.samples = dict["samples"].cast<std::int64_t>();
    // Checkpoints of before there were sequences have none: there it is the samples.
    results.terms.assign(results.loss.size(), static_cast<double>(results.samples));
    if (dict.contains("terms")) results.terms = dict["terms"].cast<std::vector<double>>();
    results.last_loss = dict["last_loss"].cast<double>();
    metrics = dict["metrics"].cast<std::vector<std::vector<std::vector<double>>>>();
  }
  Results<T> results;
  std::vector<std::vector<std::vector<double>>> metrics;
};

// What a callback is told of the epoch so far.
template <class T> py::dict results_of(const Trainer<T>& trainer) {
  const Results<T>& r = trainer.results();
  const double n = static_cast<double>(std::max<std::int64_t>(r.samples, 1));
  double total = 0;
  py::list losses, metrics;
  for (std::size_t k = 0; k < r.loss.size(); ++k) {
    const double terms = std::max(r.terms[k], 1.0);
    losses.append(r.loss[k] / terms);
    total += trainer.losses()[k].config.weight * r.loss[k] / terms;
    py::list states;
    for (const Metric<T>& metric : trainer.metrics()[k]) states.append(py::array(py::cast(metric.state())));
    metrics.append(states);
  }
  py::dict dict;
  dict["loss"] = total + r.penalty / n;
  dict["losses"] = losses;
  dict["last_loss"] = r.last_loss;
  dict["samples"] = r.samples;
  dict["metrics"] = metrics;
  if (trainer.flaw() != nullptr) dict["flaw"] = details_of(*trainer.flaw());
  return dict;
}

}  // namespace bp
