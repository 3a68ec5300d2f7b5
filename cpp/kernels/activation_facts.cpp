// What common code must know of the activations. activation_keeps_z is kKeepsZ of the structs in kernels/activations.h,
// which common code cannot include; the gradient test of every activation fails where they differ.
#include "kernels/table.h"

namespace bp {

bool activation_keeps_z(Activation f) {
  switch (f) {
    case Activation::kGelu:
    case Activation::kGeluTanh:
    case Activation::kSilu:
    case Activation::kMish: return true;
    default: return false;
  }
}

const char* activation_name(Activation f) {
  static const char* const kNames[] = {"linear", "sigmoid", "hard_sigmoid", "tanh",     "relu",       "leaky_relu",
                                       "relu6",  "elu",     "selu",         "celu",     "gelu",       "gelu_tanh",
                                       "silu",   "mish",    "softplus",     "softsign", "exponential"};
  static_assert(sizeof(kNames) / sizeof(kNames[0]) == static_cast<int>(Activation::kCount));
  return kNames[static_cast<int>(f)];
}

}  // namespace bp
