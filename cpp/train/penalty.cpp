#include "train/penalty.h"

#include <algorithm>
#include <cmath>

#include "base/threads.h"

namespace bp {

namespace {

template <class T> double decay_value(const PenaltyConfig<T>& config, const T* w, std::int64_t n) {
  double value = 0;
  if (config.l1 != 0) value += config.l1 * kernels<T>().sum_abs(w, n);
  if (config.l2 != 0) value += config.l2 * kernels<T>().sum_squares(w, n);
  return value;
}

}  // namespace

template <class T>
Penalties<T>::Penalties(const Graph<T>& graph, const std::vector<PenaltyConfig<T>>& configs)
    : graph_(graph), configs_(configs), call_value_(configs.size(), 0.0) {
  for (std::size_t p = 0; p < configs_.size(); ++p) {
    any_ |= configs_[p].any();
    trained_ |= configs_[p].any() && graph_.params[p].trainable;
  }
}

template <class T> void Penalties<T>::refresh() { frozen_value_ = any_ ? value_now(true) : 0; }

template <class T> double Penalties<T>::call() {
  double most = 0;
  for (std::size_t p = 0; p < configs_.size(); ++p) {
    if (configs_[p].user == nullptr || !graph_.params[p].trainable) continue;
    call_value_[p] = configs_[p].user->run(true);
    const double here =
        static_cast<double>(kernels<T>().max_abs(configs_[p].user->gradient(), size_of(graph_.params[p].shape)));
    if (!is_finite(p)) return std::nan("");
    most = std::max(most, here);
  }
  return most;
}

template <class T> bool Penalties<T>::is_finite(std::size_t p) const {
  return std::isfinite(call_value_[p]) &&
         kernels<T>().all_finite(configs_[p].user->gradient(), size_of(graph_.params[p].shape));
}

template <class T> void Penalties<T>::add(std::size_t tile, int param, const Tile& where, T* g) {
  const PenaltyConfig<T>& config = configs_[static_cast<std::size_t>(param)];
  if (!config.any()) return;
  const ParameterView<T>& view = graph_.params[static_cast<std::size_t>(param)];
  const std::int64_t width = view.row_size();
  const bool dense = where.columns.count() == width;  // then the tile's rows are one run of memory
  const std::int64_t runs = dense ? 1 : where.rows.count(), n = dense ? where.size() : where.columns.count();
  double value = 0;
  for (std::int64_t run = 0; run < runs; ++run, g += n) {
    const std::int64_t offset = (where.rows.begin + run) * width + where.columns.begin;
    if (config.user != nullptr) {
      kernels<T>().axpy(T(1), config.user->gradient() + offset, g, n);
      continue;
    }
    kernels<T>().add_decay(static_cast<T>(config.proximal ? 0 : config.l1), static_cast<T>(config.l2),
                           view.value + offset, g, n);
    value += decay_value(config, view.value + offset, n);
  }
  tile_value_[tile] = value;
}

template <class T> double Penalties<T>::proximal(int param) const {
  if (configs_.empty()) return 0;
  const PenaltyConfig<T>& config = configs_[static_cast<std::size_t>(param)];
  return config.proximal ? config.l1 : 0;
}

template <class T> double Penalties<T>::value() const {
  double total = frozen_value_;
  for (double value : call_value_) total += value;
  for (double value : tile_value_) total += value;
  return total;
}

template <class T> double Penalties<T>::value_now(bool frozen_only) const {
  const FloatEnvironment environment;
  double total = 0;
  for (std::size_t p = 0; p < configs_.size(); ++p) {
    const ParameterView<T>& param = graph_.params[p];
    if (frozen_only && param.trainable) continue;
    total += configs_[p].user != nullptr ? configs_[p].user->run(false)
                                         : decay_value(configs_[p], param.value, size_of(param.shape));
  }
  return total;
}

template <class T> std::string Penalties<T>::flaw() const {
  for (std::size_t p = 0; p < configs_.size(); ++p) {
    if (configs_[p].user == nullptr || !graph_.params[p].trainable) continue;
    if (!is_finite(p)) return graph_.params[p].name;
  }
  return "";
}

template class Penalties<float>;
template class Penalties<double>;

}  // namespace bp
