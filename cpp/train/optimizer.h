// What an optimizer is told, what it keeps per parameter, and the constants of one step.
//
// The updates themselves are kernels/update.h. Defaults are PyTorch 2's.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/table.h"

namespace bp {

struct OptimizerConfig {
  Optimizer kind = Optimizer::kSgd;
  double learning_rate = 0.01;
  double momentum = 0.0;  // momentum, nesterov, rmsprop
  double beta_1 = 0.9, beta_2 = 0.999;
  double epsilon = 1e-8;
  double rho = 0.99;  // rmsprop, adadelta
  double weight_decay = 0.0;
  bool decoupled_decay = false;   // AdamW, Lion: w *= 1 - lr weight_decay; else g += weight_decay w
  bool centered = false;          // rmsprop
  std::int64_t began = 0;         // the step before which the slots hold nothing: bias corrections count from it
  double momentum_decay = 0.004;  // nadam's psi
  double eta_minus = 0.5, eta_plus = 1.2, step_min = 1e-6, step_max = 50.0;  // rprop
};

struct ParameterGroup {  // of parameters with a rate and decay of their own
  double learning_rate_factor = 1;
  double weight_decay = 0;
};

// Nadam's product mu_1 .. mu_t up to `step`. A pure function of the step, kept so that the next step costs one
// factor; any state is valid, since a step before it restarts from 1 with the same factors in the same order.
struct NadamProduct {
  std::int64_t step = 0;
  double product = 1.0;
};

OptimizerConfig default_config(Optimizer kind);
const char* optimizer_name(Optimizer kind);

int slot_count(const OptimizerConfig& config);                       // at most kMaxSlots
const char* slot_name(const OptimizerConfig& config, int slot);      // for checkpoints: "momentum", "square", ...
double slot_initial_value(const OptimizerConfig& config, int slot);  // 0, but rprop's step: learning_rate

double slot_lowest(const OptimizerConfig& config, int slot);  // 0 for mean squares, norms and steps

// The constants of step `step` (from 1), computed in double.
template <class T>
Hyper<T> hyper_at(const OptimizerConfig& config, double learning_rate, std::int64_t step,
                  NadamProduct* cache = nullptr);

// The constants of a step by group; without groups the optimizer's own, as group 0.
template <class T> class StepHyper {
 public:
  StepHyper(const OptimizerConfig& config, const std::vector<ParameterGroup>& groups)
      : config_(config), groups_(groups), hyper_(groups.empty() ? 1 : groups.size()) {}
  void set(double learning_rate, std::int64_t step);  // writes only what changes
  int groups() const { return static_cast<int>(hyper_.size()); }
  const Hyper<T>& of(int group) const { return hyper_[static_cast<std::size_t>(group)]; }

 private:
  const OptimizerConfig& config_;
  const std::vector<ParameterGroup>& groups_;
  std::vector<Hyper<T>> hyper_;
  double rate_ = std::numeric_limits<double>::quiet_NaN();  // of the last set()
  NadamProduct nadam_;
};

}  // namespace bp
