#include "train/loss.h"

#include <algorithm>
#include <utility>

namespace bp {
namespace {

const std::pair<const char*, Loss> kNames[] = {
    {"mean_squared_error", Loss::kMeanSquaredError},
    {"half_squared_error", Loss::kHalfSquaredError},
    {"mean_absolute_error", Loss::kMeanAbsoluteError},
    {"huber", Loss::kHuber},
    {"log_cosh", Loss::kLogCosh},
    {"binary_cross_entropy", Loss::kBinaryCrossEntropy},
    {"cross_entropy", Loss::kCrossEntropy},
    {"kl_divergence", Loss::kKlDivergence},
    {"poisson", Loss::kPoisson},
    {"hinge", Loss::kHinge},
    {"quantile", Loss::kQuantile},
    {"gaussian_nll", Loss::kGaussianNll},
};

// Whether a value is made of probabilities: a softmax or a sigmoid, seen through ops that keep them so, all of whose
// inputs (constants aside) are.
template <class T> bool made_of_probabilities(const Graph<T>& graph, int value) {
  const Facts& facts = graph.facts[static_cast<std::size_t>(value)];
  if (is_probability(facts.ending)) return true;
  if (!facts.keeps_probabilities) return false;
  bool any = false;
  for (int input : graph.nodes[static_cast<std::size_t>(value)].inputs) {
    if (graph.has_role(input, Role::kConstant)) continue;
    if (!made_of_probabilities(graph, input)) return false;
    any = true;
  }
  return any;
}

// Blocks of a prediction, each of the target's width.
template <class T> std::int64_t parts(const LossConfig<T>& config) {
  if (config.whole != nullptr) return 1;
  if (config.kind == Loss::kGaussianNll) return 2;
  return config.kind == Loss::kQuantile ? static_cast<std::int64_t>(config.options.size()) : 1;
}

// What Python has refused when the call began; sums of distributions and the like are not looked at again.
template <class T> std::pair<T, T> target_range(const LossConfig<T>& config) {
  constexpr T kNoEnd = std::numeric_limits<T>::infinity();
  if (config.whole != nullptr) return {-kNoEnd, kNoEnd};
  switch (config.kind) {
    case Loss::kBinaryCrossEntropy: return {T(0), T(1)};
    case Loss::kCrossEntropy:
    case Loss::kKlDivergence:
    case Loss::kPoisson: return {T(0), kNoEnd};
    case Loss::kHinge: return {T(-1), T(1)};
    default: return {-kNoEnd, kNoEnd};
  }
}

}  // namespace

Loss loss_from_name(const std::string& name) {
  for (const auto& [known, loss] : kNames) {
    if (name == known) return loss;
  }
  throw BadInput("unknown loss '" + name + "'");
}

const std::vector<std::string>& loss_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const auto& [name, loss] : kNames) all.emplace_back(name);
    return all;
  }();
  return names;
}

namespace {

// A loss that is of steps, not of samples, has positions.
template <class T> BoundLoss<T> of_steps(BoundLoss<T> bound, std::int64_t size) {
  const std::int64_t steps = bound.config.steps;
  if (steps == 0 || bound.positions != 1) return bound;
  check(size % steps == 0, "the steps of a loss do not fit its output");
  bound.positions = steps;
  bound.width = bound.target_width = size / steps;
  return bound;
}

}  // namespace

template <class T> BoundLoss<T> bind_loss(const Graph<T>& graph, int output, LossConfig<T> config) {
  const Shape& shape = graph.shapes[static_cast<std::size_t>(output)];
  const std::int64_t size = size_of(shape);
  const auto [low, high] = target_range(config);
  BoundLoss<T> bound{config, output, output, Link::kNone, 1, size, size, {}, {}, false, low, high};
  for (double option : config.options) bound.options.push_back(static_cast<T>(option));
  if (bound.options.empty()) bound.options.push_back(T(0));
  if (const std::int64_t blocks = parts(config); blocks != 1) {
    check(blocks > 0 && !shape.empty() && shape.back() % blocks == 0 && config.point >= 0 && config.point < blocks,
          "the loss needs an output of " + std::to_string(blocks) + " blocks, got " + to_string(shape));
    check(config.kind != Loss::kGaussianNll || config.options.size() == 2, "gaussian_nll takes two options");
    bound.width = shape.back();
    bound.target_width = bound.width / blocks;
    bound.positions = bound.width == 0 ? 0 : size / bound.width;
  }
  const bool cross = config.kind == Loss::kCrossEntropy, binary = config.kind == Loss::kBinaryCrossEntropy;
  if (binary && config.options.size() > 1) {  // one weight for all columns, or one for each
    const auto columns = static_cast<std::int64_t>(config.options.size()) - 1;
    check(columns == 1 || (!shape.empty() && columns == shape.back()),
          "binary_cross_entropy: got " + std::to_string(columns) + " pos_weights for an output of " + to_string(shape));
    for (std::int64_t i = 0; i < size; ++i)
      bound.positive.push_back(bound.options[static_cast<std::size_t>(1 + i % columns)]);
  }
  if (config.target_width > 0) bound.target_width = config.target_width;
  if (config.whole != nullptr || !(cross || binary || config.kind == Loss::kKlDivergence))
    return of_steps(std::move(bound), size);
  if (!binary && !shape.empty()) {
    bound.width = bound.target_width = shape.back();
    bound.positions = bound.width == 0 ? 0 : size / bound.width;
  }
  if (!cross && !binary) return of_steps(std::move(bound), size);

  const Ending ending = graph.facts[static_cast<std::size_t>(output)].ending;
  const bool activated = ending != Ending::kPlain || made_of_probabilities(graph, output);
  if (cross && ending == Ending::kSoftmax) bound.link = Link::kSoftmax;
  if (cross && ending == Ending::kLogSoftmax) bound.link = Link::kLogSoftmax;
  if (binary && ending == Ending::kSigmoid) bound.link = Link::kSigmoid;
  if (bound.link != Link::kNone) bound.prediction = graph.nodes[static_cast<std::size_t>(output)].inputs[0];
  bound.logits = bound.link != Link::kNone || !activated;
  if (bound.logits) bound.config.kind = cross ? Loss::kCrossEntropyLogits : Loss::kBinaryCrossEntropyLogits;
  return of_steps(std::move(bound), size);
}

template <class T> std::string describe(const BoundLoss<T>& loss) {
  if (loss.config.whole != nullptr) return loss.config.whole->name();
  std::string text;
  for (const auto& [name, kind] : kNames) {
    const bool logits_of = (kind == Loss::kCrossEntropy && loss.config.kind == Loss::kCrossEntropyLogits) ||
                           (kind == Loss::kBinaryCrossEntropy && loss.config.kind == Loss::kBinaryCrossEntropyLogits);
    if (kind == loss.config.kind || logits_of) text = name;
  }
  if (loss.link == Link::kSoftmax) return "fused: softmax + " + text + " (delta = p - t)";
  if (loss.link == Link::kLogSoftmax) return "fused: log_softmax + " + text + " (delta = p - t)";
  if (loss.link == Link::kSigmoid) return "fused: sigmoid + " + text + " (delta = p - t)";
  return text + (loss.logits ? " from logits" : "");
}

template BoundLoss<float> bind_loss(const Graph<float>&, int, LossConfig<float>);
template BoundLoss<double> bind_loss(const Graph<double>&, int, LossConfig<double>);
template std::string describe(const BoundLoss<float>&);
template std::string describe(const BoundLoss<double>&);

}  // namespace bp
