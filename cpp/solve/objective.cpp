#include "solve/objective.h"

#include <cmath>
#include <limits>

#include "plan/teamwork.h"

namespace bp {
namespace {

constexpr std::int64_t kChunk = 256;  // samples

}  // namespace

Objective::Objective(const Problem& problem)
    : sweep_(problem.graph, problem.config, predictions(*problem.config), problem.offsets) {
  expect_one_function(sweep_);
}

double Objective::add_penalties(const double* w, double* gradient) const {
  const auto& penalties = sweep_.config().penalties;
  double total = 0;
  for (std::size_t p = 0; p < penalties.size(); ++p) {
    const std::int64_t offset = sweep_.offsets()[p];
    if (offset < 0 || !penalties[p].any()) continue;
    const std::int64_t n = size_of(sweep_.graph().params[p].shape);
    const double *from = w + offset, l1 = penalties[p].l1, l2 = penalties[p].l2;
    if (penalties[p].user != nullptr) {
      total += penalties[p].user->run(true);
      kernels<double>().axpy(1.0, penalties[p].user->gradient(), gradient + offset, n);
      continue;
    }
    total += l1 * kernels<double>().sum_abs(from, n) + l2 * kernels<double>().sum_squares(from, n);
    kernels<double>().add_decay(l1, l2, from, gradient + offset, n);
  }
  return total;
}

double Objective::at(const double* w, double* gradient, const BatchSource<double>& source, const Poll& poll) {
  ++evaluations_;
  sweep_.write_weights(w);
  double total = 0;
  const int threads = threads_for(3 * sweep_.plan().flops() * source.n, source.n);
  const std::int64_t chunk = sweep_.together() ? source.n : kChunk;  // code of the user's takes all rows at once
  sweep_.run(source, chunk, threads, poll, [&](const Part& part) {
    sweep_.forward(part);
    sweep_.losses(part, source.n, true);
    sweep_.backward(part);
    part.team.barrier();
    if (part.team.rank == 0) total = sweep_.add_losses(part.all(), total);
    sweep_.accumulate_share(part, gradient, part.data.begin > 0);
  });
  const double value = total / static_cast<double>(source.n) + add_penalties(w, gradient);
  if (!kernels<double>().all_finite(gradient, size())) return std::numeric_limits<double>::infinity();
  return std::isfinite(value) ? value : std::numeric_limits<double>::infinity();
}

}  // namespace bp
