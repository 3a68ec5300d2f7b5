// Where compute="bfloat16" rounds the operands of an operation's matrix products: where that pays.
//
// The choice is made once for an operation, and holds for its products forward, backward and of gradients alike. It
// depends on the shape of the operation's weights and on the instruction alone, neither on time nor on the number of
// rows: a row of a batch has the same bits alone, and a sequence the same with padding behind it. Products without
// weights, of two values (dot), are not rounded: both sides would be converted for each sample, and may be as long as a
// padded sequence is.
#pragma once

#include <cstdint>

#include "kernels/table.h"

namespace bp {

// Of products with weights that make `out` values of `in` ones: `allowed`, or kFull where rounding does not pay.
Compute where_it_pays(Compute allowed, std::int64_t in, std::int64_t out);

void round_all_products(bool all);  // of operations that are made from now on, whatever their shapes; for tests

}  // namespace bp
