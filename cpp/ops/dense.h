// The op of a dense layer, for others that turn out to be one.
#pragma once

#include "ops/op.h"

namespace bp {

// x: a sample; w: (I, O), or (O, I) if transposed.
template <class T> OpPtr<T> dense_op(const Shape& x, const Shape& w, bool has_bias, bool transposed, Compute compute);

}  // namespace bp
