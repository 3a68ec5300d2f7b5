#include "train/constraint.h"

#include <algorithm>
#include <cmath>

namespace bp {
namespace {

constexpr double kEpsilon = 1e-7;           // Keras' backend.epsilon()
constexpr std::int64_t kColumnBlock = 512;  // columns whose sums wait on the stack: 4 KB, and 2 KB of a row of floats

template <class T> double factor_of(const ConstraintConfig<T>& config, double norm) {
  const double clipped = std::min(std::max(norm, config.low), config.high);
  if (clipped == norm || config.rate == 0)
    return 1;  // within the bounds: else each update would take a part of kEpsilon
  return (config.rate * clipped + (1 - config.rate) * norm) / (kEpsilon + norm);
}

// n columns of (axes, inner) from x; n <= kColumnBlock.
template <class T> void constrain_columns(const ConstraintConfig<T>& config, T* x, std::int64_t n) {
  double sum[kColumnBlock];
  T factor[kColumnBlock];
  kernels<T>().column_squares(x, config.inner, sum, config.axes, n);
  bool all_one = true;
  for (std::int64_t j = 0; j < n; ++j) {
    factor[j] = static_cast<T>(factor_of(config, std::sqrt(sum[j])));
    all_one &= factor[j] == T(1);
  }
  if (!all_one) kernels<T>().scale_columns(factor, x, config.inner, config.axes, n);
}

template <class T> void constrain_norm(const ConstraintConfig<T>& config, T* w, Rows columns) {
  for (std::int64_t at = columns.begin; at < columns.end;) {
    const std::int64_t column = at % config.inner, block = at / config.inner;
    T* x = w + block * config.axes * config.inner + column;
    const std::int64_t n = std::min({columns.end - at, config.inner - column, kColumnBlock});
    if (config.inner == 1) {
      const double norm = std::sqrt(kernels<T>().sum_squares(x, config.axes));
      kernels<T>().scale(static_cast<T>(factor_of(config, norm)), x, config.axes);
    } else {
      constrain_columns(config, x, n);
    }
    at += n;
  }
}

// This thread's share of one parameter.
template <class T> void constrain(const ConstraintConfig<T>& config, const Shape& shape, T* w, const Team& team) {
  if (config.kind == Constraint::kNonNegative) {
    const Rows mine = split_columns(size_of(shape), team.rank, team.size);
    const T zero = 0;
    T* x = w + mine.begin;
    kernels<T>().binary[static_cast<int>(Binary::kMaximum)](x, 1, &zero, 0, x, mine.count());
  } else if (config.kind == Constraint::kNorm) {
    const std::int64_t columns = config.outer * config.inner;
    const Rows mine =
        config.inner == 1 ? split(columns, team.rank, team.size) : split_columns(columns, team.rank, team.size);
    constrain_norm(config, w, mine);
  } else if (config.kind == Constraint::kUser && team.rank == 0) {
    config.user->run(w);
  }
}

}  // namespace

template <class T>
Constraints<T>::Constraints(const Graph<T>& graph, const std::vector<ConstraintConfig<T>>& configs)
    : graph_(graph), configs_(configs) {
  for (std::size_t p = 0; p < configs_.size(); ++p) {
    any_ |= graph_.params[p].trainable && configs_[p].kind != Constraint::kNone;
  }
}

template <class T> void Constraints<T>::apply(Team& team, const std::vector<T*>& w) const {
  if (!any_) return;
  team.barrier();
  for (std::size_t p = 0; p < configs_.size(); ++p) {
    if (graph_.params[p].trainable) constrain(configs_[p], graph_.params[p].shape, w[p], team);
  }
}

template class Constraints<float>;
template class Constraints<double>;

}  // namespace bp
