// Batch solvers in Python's hands: an iteration over the data that a trainer holds.
#include <chrono>
#include <exception>
#include <utility>

#include "bind/array.h"
#include "bind/gathered.h"
#include "bind/parts.h"
#include "bind/poll.h"
#include "bind/trainer.h"
#include "solve/solver.h"

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

  // Up to `most` iterations, fewer after `seconds`: ([(results of the data with the weights after it, what the solver
  // says of it), ..], verdict of the last one). What a signal's handler raises after the first is raised by the next
  // call.
  py::tuple run(std::int64_t most, double seconds) {
    using Clock = std::chrono::steady_clock;
    Trainer<double>& trainer = trainer_.core();
    check(trainer.source().n > 0, "a solver needs data");
    const Entry entry(trainer_.gate());
    check(entry.inside(), "two threads are in one trainer");
    if (waiting_ != nullptr) std::rethrow_exception(std::exchange(waiting_, nullptr));
    const auto begin = Clock::now();
    const Poll poll = signal_poll();
    py::list done;
    Verdict verdict = Verdict::kGoesOn;
    solver_->forget();  // code of the user's has run
    do {
      try {
        const GilRelease release;
        verdict = solver_->iterate(trainer.source(), poll);
        if (verdict != Verdict::kNotFinite) look_back(trainer);
      } catch (...) {
        if (done.empty()) throw;
        waiting_ = std::current_exception();
        break;
      }
      if (verdict == Verdict::kNotFinite) break;
      py::dict report;
      for (const auto& [name, value] : solver_->report()) report[name.c_str()] = value;
      done.append(py::make_tuple(results_of(trainer), report));
    } while (verdict == Verdict::kGoesOn && static_cast<std::int64_t>(done.size()) < most &&
             std::chrono::duration<double>(Clock::now() - begin).count() < seconds);
    return py::make_tuple(done, word(verdict));
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
  // The iteration counts; what losses and metrics are after it.
  void look_back(Trainer<double>& trainer) const {
    constexpr std::int64_t kRows = 1024;
    constexpr double kRate = 0, kForever = 1e9;
    trainer.steps().add(1);
    if (solver_->outputs() != nullptr && trainer.source().n <= kRows && !trainer.config()->between_may_throw) {
      return trainer.take_evaluation(*solver_->outputs());
    }
    trainer.reset_results();
    trainer.start_epoch(kRows, false, 0, 0, 0, false);
    while (trainer.batch() < trainer.n_batches()) trainer.run(&kRate, 1, -1, kForever);
  }

  std::exception_ptr waiting_;
  py::object keep_;
  TrainerHandle<double>& trainer_;
  std::unique_ptr<Solver> solver_;
};

}  // namespace

void bind_solver(py::module_& m) {
  py::class_<PySolver>(m, "Solver")
      .def(py::init<py::object, const std::string&, std::map<std::string, double>, std::vector<std::int64_t>>(),
           py::arg("trainer"), py::arg("kind"), py::arg("options"), py::arg("offsets"))
      .def("run", &PySolver::run, py::arg("most"), py::arg("seconds"))
      .def("state", &PySolver::state)
      .def("set_state", &PySolver::set_state, py::arg("state"));
}

}  // namespace bp
