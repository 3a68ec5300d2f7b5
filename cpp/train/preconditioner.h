// What stands between the gradients of a batch and the optimizer: a matrix that makes a step of them, which it knows
// from what it has seen of the batches. Above this room (solve/kfac.h); a step only calls it.
#pragma once

#include <string>

#include "base/threads.h"
#include "train/job.h"

namespace bp {

template <class T> class Preconditioner {
 public:
  virtual ~Preconditioner() = default;

  // On every member of a team. Look at a batch, with the weights that it was computed with (no rows: gradients of
  // earlier batches, which it has seen); ends with a barrier.
  virtual void look(Team& team, const BatchJob<T>& job) = 0;
  // The whole gradient of a trained parameter, in C order: the caller fills these in, and after a barrier
  virtual T* gradient(int param) = 0;
  // they become the direction of the step; ends with a barrier.
  virtual void run(Team& team, const BatchJob<T>& job) = 0;

  // On the first member alone, after a batch that counts: only then may what it knows have changed.
  virtual void commit() = 0;

  // The layer where what it knows is not finite or has no inverse, or none; on every member the same.
  virtual const std::string& flaw() const = 0;
};

}  // namespace bp
