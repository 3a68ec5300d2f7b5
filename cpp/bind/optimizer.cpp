// Optimizers as Python describes them, and the facts about their slots.
#include "bind/names.h"
#include "bind/parts.h"

namespace bp {
namespace {

std::string optimizer_name_at(int i) { return optimizer_name(static_cast<Optimizer>(i)); }

// A fact about one of an optimizer's slots.
template <class F> void def_slot(py::module_& m, const char* name, F of) {
  m.def(
      name,
      [of](const py::dict& optimizer, int slot) {
        const OptimizerConfig config = parse_optimizer(optimizer);
        check(slot >= 0 && slot < slot_count(config),
              "slot: got " + std::to_string(slot) + ", expected 0 to " + std::to_string(slot_count(config) - 1));
        return of(config, slot);
      },
      py::arg("optimizer"), py::arg("slot"));
}

}  // namespace

OptimizerConfig parse_optimizer(const py::dict& dict) {
  const auto kind = dict["kind"].cast<std::string>();
  OptimizerConfig config = default_config(
      static_cast<Optimizer>(find_name(kind, static_cast<int>(Optimizer::kCount), optimizer_name_at, "optimizer")));
  // clang-format off
  const std::pair<const char*, double*> numbers[] = {
      {"learning_rate", &config.learning_rate}, {"momentum", &config.momentum}, {"beta_1", &config.beta_1},
      {"beta_2", &config.beta_2}, {"epsilon", &config.epsilon}, {"rho", &config.rho},
      {"weight_decay", &config.weight_decay}, {"momentum_decay", &config.momentum_decay}};
  // clang-format on
  for (const auto& [name, number] : numbers) *number = get_or(dict, name, *number);
  config.decoupled_decay = get_or(dict, "decoupled", config.decoupled_decay);
  config.centered = get_or(dict, "centered", config.centered);
  config.began = get_or(dict, "began", config.began);
  return config;
}

void bind_optimizers(py::module_& m) {
  m.def("optimizer_names", [] { return all_names(static_cast<int>(Optimizer::kCount), optimizer_name_at); });
  m.def(
      "slot_count", [](const py::dict& optimizer) { return slot_count(parse_optimizer(optimizer)); },
      py::arg("optimizer"));
  def_slot(m, "slot_name", slot_name);
  def_slot(m, "slot_initial_value", slot_initial_value);
  def_slot(m, "slot_lowest", slot_lowest);
}

}  // namespace bp
