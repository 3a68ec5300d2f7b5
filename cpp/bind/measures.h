// Losses and metrics from what Python tells of them.
#pragma once

#include "bind/parameters.h"
#include "bind/user_code.h"

namespace bp {

// What user code sees of an output: a sample, or a step.
inline Shape row_of(const Shape& sample, std::int64_t steps) {
  return steps > 0 ? Shape(sample.begin() + 1, sample.end()) : sample;
}

template <class T> LossConfig<T> parse_loss(const py::dict& dict, double weight, const Shape& shape) {
  LossConfig<T> config;
  config.weight = weight;
  config.options = get_or(dict, "options", std::vector<double>{});
  config.point = get_or(dict, "point", 0);
  config.steps = get_or(dict, "steps", std::int64_t{0});
  config.sum = get_or(dict, "sum", false);
  const auto kind = dict["kind"].cast<std::string>();
  if (kind == "python") {
    config.whole = std::make_shared<PythonLoss<T>>(dict["call"], row_of(shape, config.steps));
  } else if (kind == "hsic") {
    HsicOptions options;
    options.sigmas = dict["sigmas"].cast<std::vector<double>>();
    options.epsilon = get_or(dict, "epsilon", options.epsilon);
    options.scale = get_or(dict, "scale", options.scale);
    options.classes = config.target_width = get_or(dict, "target_width", std::int64_t{0});
    config.whole = std::make_shared<HsicLoss<T>>(std::move(options));
  } else {
    config.kind = loss_from_name(kind);
  }
  return config;
}

template <class T> MetricConfig<T> parse_metric(const py::tuple& tuple, const Shape& shape) {
  // clang-format off
  static const std::pair<const char*, MetricKind> kNames[] = {
      {"accuracy", MetricKind::kAccuracy}, {"binary_accuracy", MetricKind::kBinaryAccuracy},
      {"top_k", MetricKind::kTopK}, {"counts", MetricKind::kCounts}, {"auc", MetricKind::kAuc},
      {"mae", MetricKind::kMae}, {"mse", MetricKind::kMse}, {"r2", MetricKind::kR2}, {"python", MetricKind::kUser}};
  // clang-format on
  const auto name = tuple[0].cast<std::string>();
  const py::dict options(tuple[1]);
  for (const auto& [known, kind] : kNames) {
    if (name != known) continue;
    MetricConfig<T> config;
    config.kind = kind;
    config.weighted = get_or(options, "weighted", false);
    config.labels = get_or(options, "labels", false);
    config.pooled = get_or(options, "pooled", false);
    config.k = get_or(options, "k", 5);
    config.threshold = get_or(options, "threshold", 0.5);
    if (kind == MetricKind::kUser) config.user = std::make_shared<PythonMetric<T>>(options["call"], shape);
    return config;
  }
  throw BadInput("unknown metric '" + name + "'");
}

}  // namespace bp
