// Some steps of a batch of sequences, gone through forward once, with all that backward needs of them.
//
// BPTT(h; h') (R. Williams, J. Peng, 1990) goes back over the last h steps every h' steps, with the losses of the last
// h', through activations as they were computed. The steps are cut into stretches wherever a pass begins or ends. Each
// keeps its frame until no pass goes over it: forward of a new one begins with the states that the one before has left;
// backward begins, in the newest, with its losses, hands the gradient of the states with which a stretch begins to the
// one before, and sums the gradients of the weights, with which one update follows. Stretches of different lengths are
// of different plans of one model, which carry the same states in the same order. Running statistics move with forward;
// where a pass fails, its stretches are undone, the newest first.
#pragma once

#include <memory>

#include "plan/frame.h"

namespace bp {

template <class T> struct Stretch {
  std::unique_ptr<Frame<T>> frame;
  std::int64_t rows = 0;  // samples; 0: none so far
  std::vector<T> before;  // weights of layers that have running statistics, before these have moved
};

}  // namespace bp
