// Penalties: what parameters add to the loss, R(w) = l1 sum |w| + l2 sum w^2 or a function of the user's.
//
// The gradient, l1 sign(w) + 2 l2 w with sign(0) = 0, joins the batch's on each tile, before clipping; the tile's part
// of the value is summed there too, while the weights are in cache. Values are summed in double, tiles in order: bits
// do not depend on threads. A frozen parameter counts in the value only.
#pragma once

#include "plan/graph.h"

namespace bp {

// A penalty written by the user: the core does not know in which language.
template <class T> struct UserPenalty {
  virtual ~UserPenalty() = default;
  virtual double run(bool with_gradient) = 0;  // the value
  virtual const T* gradient() const = 0;       // of the parameter's size; filled by run(true)
};

template <class T> struct PenaltyConfig {
  double l1 = 0, l2 = 0;
  bool proximal = false;                 // l1 comes by a step of its own after the update, not by its gradient
  std::shared_ptr<UserPenalty<T>> user;  // or
  bool any() const { return l1 != 0 || l2 != 0 || user != nullptr; }
};

template <class T> class Penalties {
 public:
  // configs: by parameter, or empty.
  Penalties(const Graph<T>& graph, const std::vector<PenaltyConfig<T>>& configs);

  bool any() const { return any_; }
  bool trained() const { return trained_ && !rests_; }  // some parameter with tiles has one
  void rest(bool rests) { rests_ = rests; }             // none joins the gradients of some part of a batch
  void set_tiles(std::size_t n) { tile_value_.assign(n, 0.0); }

  void refresh();  // before a run of steps: the value of the frozen parameters
  double call();   // before each step, on one thread: the user's functions; the greatest magnitude of
                   // their gradients, NaN if a number is not finite
  void add(std::size_t tile, int param, const Tile& where, T* g);  // g: compact, of this tile
  double proximal(int param) const;                                // the l1 of a proximal step, or 0
  double value() const;  // of the last step's weights, once all tiles are added
  double value_now(bool frozen_only = false) const;

  std::string flaw() const;  // names the parameter whose function is not finite, or ""

 private:
  bool is_finite(std::size_t p) const;  // what p's function gave
  const Graph<T>& graph_;
  const std::vector<PenaltyConfig<T>>& configs_;
  std::vector<double> tile_value_, call_value_;
  double frozen_value_ = 0;
  bool any_ = false, trained_ = false, rests_ = false;
};

}  // namespace bp
