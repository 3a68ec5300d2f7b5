// The second derivatives of activations, for exact products with the Hessian.
#pragma once

#include "kernels/table.h"

namespace bp {

// d = f''(z), from z, or any numbers of its signs where activation_keeps_z() is false, and a = f(z). At a kink it is
// that of the side whose slope the first derivative takes.
template <class T> void second_derivative(Activation f, const T* z, const T* a, T* d, std::int64_t n, T alpha);

}  // namespace bp
