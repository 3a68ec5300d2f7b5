// What all batch solvers are to a loop of epochs: an iteration over all of the data, what it says of itself, and its
// state.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "solve/sweep.h"

namespace bp {

// Whether a solver goes on, and if not why.
enum class Verdict { kGoesOn, kGoal, kFlat, kStuck, kTolerance, kNotFinite };

class Solver {
 public:
  using Numbers = std::vector<std::pair<std::string, double>>;
  using State = std::map<std::string, std::vector<double>>;

  virtual ~Solver() = default;
  // One iteration from the weights as they are; they change when it is accepted, and only then: after an exception,
  // which poll may throw at any time, they are what they were.
  virtual Verdict iterate(const BatchSource<double>& source, const Poll& poll) = 0;
  // Before an iteration where anything may have changed since the last one: weights, data.
  virtual void forget() {}
  // Of all of the data as one batch, outputs and losses at the weights as they are; null where the solver has none.
  virtual const Outputs<double>* outputs() const { return nullptr; }
  virtual Numbers report() const = 0;              // of the last iteration
  virtual State state() const = 0;                 // all that the next iteration takes from the ones before
  virtual void set_state(const State& state) = 0;  // BadInput for what is no state of this solver
};

// What a solver is made for.
struct Problem {
  std::map<std::string, double> options;  // what the user chose, by name
  std::shared_ptr<const Graph<double>> graph;
  std::shared_ptr<const StepConfig<double>> config;
  std::vector<std::int64_t> offsets;  // by parameter, its place in w; -1: none

  double option(const char* name) const;
};
std::unique_ptr<Solver> make_solver(const std::string& kind, const Problem& problem);

// `size` finite numbers of a state; BadInput where they are not there.
std::vector<double> numbers_of(const Solver::State& state, const char* name, std::int64_t size);

// What batch solvers refuse: a layer that is another function at each pass, or in training than in use (BadInput), and
// data later on; with the way out.
void expect_one_function(Sweep<double>& sweep);

// The weights as a vector, put back unless they are kept.
class Trial {
 public:
  explicit Trial(Sweep<double>& sweep) : sweep_(sweep), before_(sweep.size(), kUnwritten) {
    sweep.read_weights(before_.data());
  }
  ~Trial() {
    if (!kept_) sweep_.write_weights(before_.data());
  }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;
  const double* before() const { return before_.data(); }
  void keep() { kept_ = true; }

 private:
  Sweep<double>& sweep_;
  Buffer<double> before_;
  bool kept_ = false;
};

}  // namespace bp
