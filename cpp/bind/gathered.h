// What an epoch has gathered so far, from the dict in which a trainer's gathered() gives it and a checkpoint keeps it.
#pragma once

#include "bind/array.h"
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

}  // namespace bp
