// The optimizers' table: slots, defaults, and the constants that depend on the step.
#include "train/optimizer.h"

#include <cmath>
#include <string_view>

namespace bp {

namespace {

struct Row {
  const char* name;
  int slots;
  const char* slot[kMaxSlots];
  double learning_rate, epsilon, rho, beta_2;
};

// In the order of enum Optimizer; rmsprop's slots depend on its options.
const Row kRows[] = {
    {"sgd", 0, {}, 0.01, 1e-8, 0.99, 0.999},
    {"momentum", 1, {"velocity"}, 0.01, 1e-8, 0.99, 0.999},
    {"nesterov", 1, {"velocity"}, 0.01, 1e-8, 0.99, 0.999},
    {"adagrad", 1, {"square"}, 0.01, 1e-10, 0.99, 0.999},
    {"rmsprop", 1, {"square", "velocity", "mean"}, 0.01, 1e-8, 0.99, 0.999},
    {"adadelta", 2, {"square", "square_step"}, 1.0, 1e-6, 0.9, 0.999},
    {"adam", 2, {"mean", "square"}, 0.001, 1e-8, 0.99, 0.999},
    {"amsgrad", 3, {"mean", "square", "square_max"}, 0.001, 1e-8, 0.99, 0.999},
    {"adamax", 2, {"mean", "norm"}, 0.002, 1e-8, 0.99, 0.999},
    {"nadam", 2, {"mean", "square"}, 0.002, 1e-8, 0.99, 0.999},
    {"lion", 1, {"mean"}, 0.0001, 1e-8, 0.99, 0.99},
    {"rprop", 2, {"gradient", "step"}, 0.01, 1e-8, 0.99, 0.999},
};
static_assert(sizeof kRows / sizeof *kRows == static_cast<int>(Optimizer::kCount));

const Row& row(Optimizer kind) { return kRows[static_cast<int>(kind)]; }

// Whether the constants depend on the step, not only on the rate.
bool counts_steps(Optimizer kind) {
  return kind == Optimizer::kAdam || kind == Optimizer::kAmsgrad || kind == Optimizer::kAdamax ||
         kind == Optimizer::kNadam;
}

// mu_t = beta_1 (1 - 0.5 * 0.96^(t psi)), PyTorch's NAdam.
double nadam_mu(const OptimizerConfig& config, std::int64_t step) {
  return config.beta_1 * (1.0 - 0.5 * std::pow(0.96, static_cast<double>(step) * config.momentum_decay));
}

double nadam_product(const OptimizerConfig& config, std::int64_t step, NadamProduct* cache) {
  NadamProduct at;
  if (cache != nullptr && cache->step <= step) at = *cache;
  while (at.step < step && at.product != 0) at.product *= nadam_mu(config, ++at.step);  // 0 stays 0
  at.step = step;
  if (cache != nullptr) *cache = at;
  return at.product;
}

}  // namespace

OptimizerConfig default_config(Optimizer kind) {
  OptimizerConfig config;
  config.kind = kind;
  config.learning_rate = row(kind).learning_rate;
  config.epsilon = row(kind).epsilon;
  config.rho = row(kind).rho;
  config.beta_2 = row(kind).beta_2;
  config.decoupled_decay = kind == Optimizer::kLion;
  return config;
}

const char* optimizer_name(Optimizer kind) { return row(kind).name; }

int slot_count(const OptimizerConfig& config) {
  if (config.kind != Optimizer::kRmsprop) return row(config.kind).slots;
  return 1 + (config.momentum != 0.0 ? 1 : 0) + (config.centered ? 1 : 0);
}

const char* slot_name(const OptimizerConfig& config, int slot) {
  const bool skips_velocity = config.kind == Optimizer::kRmsprop && config.momentum == 0.0 && slot == 1;
  return row(config.kind).slot[skips_velocity ? 2 : slot];
}

double slot_initial_value(const OptimizerConfig& config, int slot) {
  return config.kind == Optimizer::kRprop && slot == 1 ? config.learning_rate : 0.0;
}

double slot_lowest(const OptimizerConfig& config, int slot) {
  const std::string_view name = slot_name(config, slot);
  const bool signed_slot = name == "velocity" || name == "mean" || name == "gradient";
  return signed_slot ? -std::numeric_limits<double>::infinity() : 0.0;
}

template <class T>
Hyper<T> hyper_at(const OptimizerConfig& config, double learning_rate, std::int64_t step, NadamProduct* cache) {
  const double t = static_cast<double>(step);
  const bool averages_by_rho = config.kind == Optimizer::kRmsprop || config.kind == Optimizer::kAdadelta;
  const double beta_2 = averages_by_rho ? config.rho : config.beta_2;
  Hyper<T> h{};
  h.learning_rate = static_cast<T>(learning_rate);
  h.momentum = static_cast<T>(config.momentum);
  h.beta_1 = static_cast<T>(config.beta_1);
  h.beta_2 = static_cast<T>(beta_2);
  h.one_minus_beta_1 = static_cast<T>(1.0 - config.beta_1);
  h.one_minus_beta_2 = static_cast<T>(1.0 - beta_2);
  h.epsilon = static_cast<T>(config.epsilon);
  h.l2_decay = static_cast<T>(config.decoupled_decay ? 0.0 : config.weight_decay);
  h.decoupled_decay = static_cast<T>(config.decoupled_decay ? 1.0 - learning_rate * config.weight_decay : 1.0);
  if (counts_steps(config.kind)) {
    h.step_size = static_cast<T>(learning_rate / (1.0 - std::pow(config.beta_1, t)));
    h.inv_sqrt_correction_2 = static_cast<T>(1.0 / std::sqrt(1.0 - std::pow(config.beta_2, t)));
  }
  if (config.kind == Optimizer::kRmsprop) {
    h.extra[0] = static_cast<T>(config.momentum != 0.0 ? 1 : 0);
    h.extra[1] = static_cast<T>(config.centered ? 1 : 0);
  } else if (config.kind == Optimizer::kNadam) {
    const double mu = nadam_mu(config, step), next = nadam_mu(config, step + 1);
    const double product = nadam_product(config, step, cache);
    h.extra[0] = static_cast<T>(learning_rate * (1.0 - mu) / (1.0 - product));
    h.extra[1] = static_cast<T>(learning_rate * next / (1.0 - product * next));
  } else if (config.kind == Optimizer::kRprop) {
    h.extra[0] = static_cast<T>(config.eta_minus);
    h.extra[1] = static_cast<T>(config.eta_plus);
    h.extra[2] = static_cast<T>(config.step_min);
    h.extra[3] = static_cast<T>(config.step_max);
  }
  return h;
}

template <class T> void StepHyper<T>::set(double learning_rate, std::int64_t step) {
  if (learning_rate == rate_ && !counts_steps(config_.kind)) return;
  rate_ = learning_rate;
  step -= config_.began;
  if (groups_.empty()) hyper_[0] = hyper_at<T>(config_, learning_rate, step, &nadam_);
  for (std::size_t k = 0; k < groups_.size(); ++k) {
    OptimizerConfig config = config_;
    config.weight_decay = groups_[k].weight_decay;
    hyper_[k] = hyper_at<T>(config, groups_[k].learning_rate_factor * learning_rate, step, &nadam_);
  }
}

template class StepHyper<float>;
template class StepHyper<double>;
template Hyper<float> hyper_at(const OptimizerConfig&, double, std::int64_t, NadamProduct*);
template Hyper<double> hyper_at(const OptimizerConfig&, double, std::int64_t, NadamProduct*);

}  // namespace bp
