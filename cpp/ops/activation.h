// Names of activations, for ops that have one inside.
#pragma once

#include <string>

#include "kernels/table.h"

namespace bp {

Activation activation_from_name(const std::string& name);  // BadInput for an unknown one

}  // namespace bp
