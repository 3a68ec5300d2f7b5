// No update may leave a weight, a running statistic or an optimizer's slot that is not finite.
//
// Bounds decide whether that could happen: of what the gradients can be (schedule.cpp), of the weights where they join
// the gradients, of the slots, and of the step (finite.h). Where they do not exclude it, which in a training that goes
// well is never, the update is made on a copy first, and counts if all of the copy is finite.
#pragma once

#include "base/threads.h"
#include "train/finite.h"
#include "train/tiles.h"
#include "train/workspace.h"

namespace bp {

// Where an update writes: the parameters and slots themselves, or their copies.
template <class T> struct Weights {
  std::vector<T*> w;                   // by parameter
  std::vector<std::vector<T*>> slots;  // by parameter
};

template <class T> class TrialUpdate {
 public:
  TrialUpdate(Workspace<T>& work, const Tiles<T>& tiles);

  void prepare();  // before a run of steps, on one thread: measures the slots if it does not know them
  // Before the barrier that the update waits for, on every member: notes a doubt where bounds do not exclude numbers
  // that are not finite. The first member has set the step's constants.
  void look(const Team& team, const BatchJob<T>& job, const StepHyper<T>& hyper);

  void move_on(const BatchJob<T>& job);  // after that barrier, on one member, if there is no doubt

  void note_own_change() { changes_ = work_.graph->changes(); }  // of weights and slots: the bounds know it
  void take_waiting(const TrialUpdate& other) { wild_ = other.wild_; }
  bool always() const { return always_ || preconditions_; }  // no update is without doubt
  Weights<T>& own() { return own_; }
  // The copy, on every member of the team, which has met since the doubt; allocates.
  Weights<T>& copy(Team& team, const BatchJob<T>& job);
  bool sound(Team& team, const BatchJob<T>& job);            // whether all of the copy is finite; on every member
  void take_over(const Team& team, const BatchJob<T>& job);  // the copy counts

  // After a trial that failed: whether a parameter's weights and slots would be finite; the running statistics that
  // would not.
  bool is_finite(int param) const;
  int bad_statistics() const;  // -1: none

 private:
  void limit_weights();
  bool measures_weights() const { return least_limit_ < kLargest<T> && most_weight_ > least_limit_; }
  void allocate();
  bool tile_is_finite(std::int64_t t);
  template <class Visit> void each_copied(std::int64_t t, Visit&& visit);  // visit(own, copy, elements, slot or -1)
  bool updates(const BatchJob<T>& job) const { return job.update && work_.config->has_optimizer; }

  Workspace<T>& work_;
  const Tiles<T>& tiles_;
  const bool preconditions_;          // no bound holds for what a matrix makes of gradients
  Weights<T> own_, copy_;             // copy_ is empty where there is none
  std::vector<Buffer<T>> memory_;     // of the copy
  std::vector<int> statistics_;       // the parameters that are not trained, but moved after a batch
  std::vector<double> weight_limit_;  // by parameter: below it a weight adds no more than a calm gradient; inf: always
  bool always_ = false;
  double least_limit_ = kLargest<T>, lowest_norm_ = 0;  // of all parameters
  double most_weight_ =
      0;  // of those with a limit: a bound, which updates raise by step_ until they are measured again
  double step_ = 0;
  std::int64_t changes_ = -1;  // of the parameters, when the slots' bounds were known
  bool wild_ = false;          // gradients wait for an update that no bound holds for
  bool used_ = false;          // the copy, since prepare()
  SlotBounds bounds_;
  std::vector<SlotBounds> tile_bounds_;
  std::vector<double> tile_weight_;  // measured, of parameters with a limit
};

extern template class TrialUpdate<float>;
extern template class TrialUpdate<double>;

}  // namespace bp
