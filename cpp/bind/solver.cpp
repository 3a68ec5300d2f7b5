// Batch solvers in Python's hands: an iteration over the data that a trainer holds.
#include "solve/solver.h"
#include "bind/array.h"
#include "bind/parts.h"
#include "bind/poll.h"
#include "bind/trainer.h"

namespace bp {
namespace {

const char* word(Verdict verdict) {
  switch (verdict) {
    case Verdict::kGoesOn: return "";
    case Verdict::kGoal: return "goal";
    case Verdict::kFlat: return "flat";
    case Verdict::kStuck: return "stuck";
    case Verdict::kTolerance: return "tolerance";
    case Verdict::kNotFinite: return "not finite";
  }
  return "";
}

class PySolver {
 public:
  PySolver(py::object trainer, const std::string& kind, std::map<std::string, double> options,
           std::vector<std::int64_t> offsets)
      : keep_(std::move(trainer)), trainer_(keep_.cast<TrainerHandle<double>&>()) {
    const Trainer<double>& core = trainer_.core();
    solver_ = make_solver(kind, {std::move(options), core.graph(), core.config(), std::move(offsets)});
  }

  const char* iterate() {
    Trainer<double>& trainer = trainer_.core();
    check(trainer.source().n > 0, "a solver needs data");
    const Entry entry(trainer_.gate());
    check(entry.inside(), "two threads are in one trainer");
    Verdict verdict = Verdict::kGoesOn;
    {
      const GilRelease release;
      verdict = solver_->iterate(trainer.source(), signal_poll());
    }
    if (verdict != Verdict::kNotFinite) trainer.steps().add(1);
    return word(verdict);
  }

  py::dict report() const {
    py::dict dict;
    for (const auto& [name, value] : solver_->report()) dict[name.c_str()] = value;
    return dict;
  }

  py::dict state() const {
    py::dict dict;
    for (const auto& [name, values] : solver_->state()) {
      dict[name.c_str()] = py::array_t<double>(static_cast<py::ssize_t>(values.size()), values.data());
    }
    return dict;
  }

  void set_state(const Solver::State& state) { solver_->set_state(state); }

 private:
  py::object keep_;
  TrainerHandle<double>& trainer_;
  std::unique_ptr<Solver> solver_;
};

}  // namespace

void bind_solver(py::module_& m) {
  py::class_<PySolver>(m, "Solver")
      .def(py::init<py::object, const std::string&, std::map<std::string, double>, std::vector<std::int64_t>>(),
           py::arg("trainer"), py::arg("kind"), py::arg("options"), py::arg("offsets"))
      .def("iterate", &PySolver::iterate)
      .def("report", &PySolver::report)
      .def("state", &PySolver::state)
      .def("set_state", &PySolver::set_state, py::arg("state"));
}

}  // namespace bp
