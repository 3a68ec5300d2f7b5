// The table's optimizer updates; the formulas are in update.h.
#include "kernels/update.h"

namespace bp::BP_TIER {

template <class T> static void update_rmsprop(const UpdateArgs<T>& u) {
  const bool momentum = u.hyper.extra[0] != T(0), centered = u.hyper.extra[1] != T(0);
  if (momentum && centered) return update<T, Rmsprop<T, true, true>>(u);
  if (momentum) return update<T, Rmsprop<T, true, false>>(u);
  if (centered) return update<T, Rmsprop<T, false, true>>(u);
  return update<T, Rmsprop<T, false, false>>(u);
}

template <class T> void fill_updates(Kernels<T>& table) {
  auto set = [&table](Optimizer kind, void (*f)(const UpdateArgs<T>&)) { table.update[static_cast<int>(kind)] = f; };
  set(Optimizer::kSgd, update<T, Sgd<T>>);
  set(Optimizer::kMomentum, update<T, Momentum<T, false>>);
  set(Optimizer::kNesterov, update<T, Momentum<T, true>>);
  set(Optimizer::kAdagrad, update<T, Adagrad<T>>);
  set(Optimizer::kRmsprop, update_rmsprop<T>);
  set(Optimizer::kAdadelta, update<T, Adadelta<T>>);
  set(Optimizer::kAdam, update<T, Adam<T, false>>);
  set(Optimizer::kAmsgrad, update<T, Adam<T, true>>);
  set(Optimizer::kAdamax, update<T, Adamax<T>>);
  set(Optimizer::kNadam, update<T, Nadam<T>>);
  set(Optimizer::kLion, update<T, Lion<T>>);
  set(Optimizer::kRprop, update<T, Rprop<T>>);
}

template void fill_updates(Kernels<float>& table);
template void fill_updates(Kernels<double>& table);

}  // namespace bp::BP_TIER
