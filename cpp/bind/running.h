// What calls into the core that run for some time share: the GIL given away, and what was not finite, as Python is
// told.
#pragma once

#include "base/fork.h"
#include "bind/diverged.h"
#include "bind/gil.h"
#include "bind/parts.h"
#include "train/trainer.h"

namespace bp {

// What runs without the GIL. The models' own gates keep their calls apart; this one tells of a fork.
struct Alone {
  explicit Alone(Gate& gate) : entry(gate) { check(entry.inside(), "two threads are in one trainer"); }
  const Entry entry;
  const GilRelease release;
};

}  // namespace bp
