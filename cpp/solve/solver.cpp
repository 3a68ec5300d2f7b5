#include "solve/solver.h"

#include <cmath>

#include "solve/conjugate.h"
#include "solve/lbfgs.h"
#include "solve/levenberg.h"
#include "solve/signs.h"

namespace bp {

double Problem::option(const char* name) const {
  const auto found = options.find(name);
  check(found != options.end(), std::string("a solver needs the option ") + name);
  return found->second;
}

std::vector<double> numbers_of(const Solver::State& state, const char* name, std::int64_t size) {
  const auto found = state.find(name);
  const std::string what = std::string("the state of a solver: ") + name;
  check(found != state.end(), what + " is missing");
  check(static_cast<std::int64_t>(found->second.size()) == size,
        what + " has " + std::to_string(found->second.size()) + " numbers, expected " + std::to_string(size));
  for (double number : found->second) check(std::isfinite(number), what + " holds a number that is not finite");
  return found->second;
}

void expect_one_function(Sweep<double>& sweep) {
  const std::string or_else = ", or use a mini-batch optimizer such as 'adam'";
  sweep.or_else(or_else);
  for (const Step<double>& step : sweep.plan().steps()) {
    check(!step.op->facts().draws,
          "got the random layer '" + step.name +
              "', expected the same loss whenever it is computed, as trial steps are compared; "
              "leave the layer out (its rate 0)" +
              or_else);
    check(step.op->sizes().kept == 0,
          "got layer '" + step.name +
              "', which normalizes by the batch in training and by running statistics in use, "
              "expected one function; freeze it (trainable = False)" +
              or_else);
  }
}

std::unique_ptr<Solver> make_solver(const std::string& kind, const Problem& problem) {
  if (kind == "levenberg_marquardt") return std::make_unique<Levenberg>(problem);
  if (kind == "lbfgs") return std::make_unique<Lbfgs>(problem);
  if (kind == "scaled_conjugate_gradient") return std::make_unique<ScaledConjugate>(problem);
  if (kind == "rprop" || kind == "quickprop") return std::make_unique<SignSteps>(problem);
  throw BadInput("unknown solver '" + kind + "'");
}

}  // namespace bp
