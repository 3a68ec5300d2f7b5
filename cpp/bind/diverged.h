// Numbers that are not finite, as an error in Python: _core.Diverged(message, details).
#pragma once

#include "bind/array.h"
#include "train/trainer.h"

namespace bp {

py::dict details_of(const DivergedReport& report);
[[noreturn]] void raise_diverged(const DivergedReport& report);

}  // namespace bp
