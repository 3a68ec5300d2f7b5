// What other bindings see of a trainer in Python's hands.
#pragma once

#include "base/fork.h"
#include "train/trainer.h"

namespace bp {

template <class T> struct TrainerHandle {
  virtual ~TrainerHandle() = default;
  virtual Trainer<T>& core() = 0;
  virtual Gate& gate() = 0;
};

}  // namespace bp
