// What training does to single parameters, from Python's lists: penalties, constraints, groups.
//
//   penalties    by parameter: None, (l1, l2), or (call, gradient): call(with_gradient) returns the value and fills the
//                gradient
//   constraints  by parameter: None, ("norm", low, high, rate, outer, axes, inner), ("non_negative",), ("python",
//   call):
//                call(w) returns what w, an array of its own, is to become
//   signs        (parameter, by) each: the first, not trained, takes the signs of the second after each update
//   objectives   (node, weight) each: a value to be minimised beside the losses
//   groups       (learning_rate_factor, weight_decay) each; group_of has the number of each parameter's
// All may be left out.
#pragma once

#include "bind/user_code.h"
#include "train/step.h"

namespace bp {

template <class T> class PythonPenalty final : public UserPenalty<T> {
 public:
  PythonPenalty(py::object call, py::array gradient, const ParameterView<T>& param)
      : call_(std::move(call)), gradient_(std::move(gradient)),
        data_(writable_data<T>(gradient_, param.name + ": gradient of the penalty")) {
    check(shape_of(gradient_) == param.shape, param.name + ": the penalty's gradient has a wrong shape");
  }
  double run(bool with_gradient) override {
    GilAcquire gil;
    return call_python(call_, with_gradient).template cast<double>();
  }
  const T* gradient() const override { return data_; }

 private:
  py::object call_;
  py::array gradient_;
  const T* data_;
};

template <class T> class PythonConstraint final : public UserConstraint<T> {
 public:
  PythonConstraint(py::object call, Shape shape) : call_(std::move(call)), shape_(std::move(shape)) {}
  void run(T* w) override {
    GilAcquire gil;
    const auto result = call_python(call_, copy_out(w, shape_)).template cast<py::array_t<T, py::array::c_style>>();
    check(shape_of(result) == shape_, "a constraint returned an array of another shape");
    std::copy_n(result.data(), result.size(), w);
  }

 private:
  py::object call_;
  Shape shape_;
};

template <class T> PenaltyConfig<T> parse_penalty(const py::handle& item, const ParameterView<T>& param) {
  PenaltyConfig<T> config;
  if (item.is_none()) return config;
  const auto pair = py::reinterpret_borrow<py::tuple>(item);
  if (py::isinstance<py::float_>(pair[0])) {
    config.l1 = pair[0].cast<double>();
    config.l2 = pair[1].cast<double>();
    config.proximal = pair.size() > 2 && pair[2].cast<bool>();
  } else {
    config.user = std::make_shared<PythonPenalty<T>>(pair[0], pair[1].cast<py::array>(), param);
  }
  return config;
}

template <class T> ConstraintConfig<T> parse_constraint(const py::handle& item, const Shape& shape) {
  ConstraintConfig<T> config;
  if (item.is_none()) return config;
  const auto parts = py::reinterpret_borrow<py::tuple>(item);
  const auto kind = parts[0].cast<std::string>();
  if (kind == "non_negative") {
    config.kind = Constraint::kNonNegative;
  } else if (kind == "python") {
    config.kind = Constraint::kUser;
    config.user = std::make_shared<PythonConstraint<T>>(parts[1], shape);
  } else {
    config.kind = Constraint::kNorm;
    config.low = parts[1].cast<double>(), config.high = parts[2].cast<double>(), config.rate = parts[3].cast<double>();
    config.outer = parts[4].cast<std::int64_t>(), config.axes = parts[5].cast<std::int64_t>();
    config.inner = parts[6].cast<std::int64_t>();
    check(config.outer * config.axes * config.inner == size_of(shape),
          "a constraint's view does not fit its parameter");
  }
  return config;
}

template <class T> void parse_parameters(const py::dict& options, const Graph<T>& graph, StepConfig<T>& config) {
  const auto list = [&](const char* key) { return options.contains(key) ? py::list(options[key]) : py::list(); };
  const auto fits = [&](std::size_t n) { return n == 0 || n == graph.params.size(); };
  const py::list penalties = list("penalties"), constraints = list("constraints");
  check(fits(penalties.size()) && fits(constraints.size()), "penalties and constraints: one per parameter");
  for (std::size_t p = 0; p < penalties.size(); ++p) {
    config.penalties.push_back(parse_penalty<T>(penalties[p], graph.params[p]));
  }
  for (std::size_t p = 0; p < constraints.size(); ++p) {
    config.constraints.push_back(parse_constraint<T>(constraints[p], graph.params[p].shape));
  }
  for (py::handle item : list("objectives")) {
    const auto [node, weight] = item.cast<std::pair<int, double>>();
    check(node >= 0 && static_cast<std::size_t>(node) < graph.node_of.size(), "an objective names no node");
    config.objectives.push_back({graph.node_of[static_cast<std::size_t>(node)], weight});
  }
  for (py::handle item : list("signs")) {
    const auto [param, by] = item.cast<std::pair<int, int>>();
    const auto there = [&](int p) { return p >= 0 && static_cast<std::size_t>(p) < graph.params.size(); };
    check(there(param) && there(by), "signs name no parameter");
    const auto &to = graph.params[static_cast<std::size_t>(param)], &from = graph.params[static_cast<std::size_t>(by)];
    check(to.shape == from.shape && !to.trainable, to.name + ": cannot take the signs of " + from.name);
    config.signs.push_back({param, by});
  }
  for (py::handle item : list("groups")) {
    const auto pair = item.cast<std::pair<double, double>>();
    config.groups.push_back({pair.first, pair.second});
  }
  config.group_of = get_or(options, "group_of", std::vector<int>());
  check(config.groups.empty() || config.group_of.size() == graph.params.size(), "group_of: one number per parameter");
  for (int group : config.group_of) {
    check(group >= 0 && static_cast<std::size_t>(group) < config.groups.size(), "group_of: no such group");
  }
}

}  // namespace bp
