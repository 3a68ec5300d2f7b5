// The second half of a training step: the gradient of each tile of the parameters over the whole batch, and the
// optimizer's update of it. Fused, a tile's gradient need not leave the cache; materialised, all gradients are written
// out first: for a global norm, for accumulation over batches, or because someone wants them.
#pragma once

#include "train/preconditioner.h"
#include "train/relay.h"
#include "train/touched.h"
#include "train/trial.h"

namespace bp {

template <class T> class Update {
 public:
  Update(Workspace<T>& work, const Tiles<T>& tiles, const Relay<T>& relay);

  void materialise();  // from now on, whatever the batches
  bool materialised() const { return materialise_ || long_; }
  void make_room(int threads);                 // for batches of the workspace's capacity
  std::int64_t scratch(std::int64_t n) const;  // for batches of up to n samples
  void prepare(std::int64_t n, bool training);
  void measure();  // what the bounds are made of, before each run of steps
  void note_own_change() { trial_.note_own_change(); }
  bool always_doubts() const { return trial_.always(); }

  const Tiles<T>& tiles() const { return tiles_; }
  Penalties<T>& penalties() { return penalties_; }
  const Constraints<T>& constraints() const { return constraints_; }

  // Before the barrier that the others wait for, on every member: the constants of the step, and a doubt if the update
  // may leave numbers that are not finite.
  void look(const Team& team, const BatchJob<T>& job);

  // Accumulate and update, on every member of the team: gradients alone where the job wants no update. Of long work
  // begin() accumulates, in parts between which it looks whether it is still wanted; after it no member can be
  // interrupted. It accumulates as well where nothing but gradients is in doubt, and looks at them: then there is no
  // doubt, or a certain one. Returns whether it has.
  bool begin(Team& team, const BatchJob<T>& job);
  void run(Team& team, const BatchJob<T>& job, bool collected);
  // In place of run() where there is a doubt: on a copy, and whether all of it is finite; if so, the copy may take
  // over.
  bool try_out(Team& team, const BatchJob<T>& job, bool collected);
  void take_over(const Team& team, const BatchJob<T>& job) {
    trial_.take_over(team, job);
    if (preconditioner_ != nullptr && team.rank == 0) preconditioner_->commit();
  }
  NonFinite flaw() const;  // on one thread: why it was not
  // What takes the signs of trained weights does so after their update, on every member of the team.
  void align_signs(Team& team);

  // The update's two halves on their own: the batch's gradients are added to arrays of the caller's, penalties left
  // out; and gradients are taken from such arrays into the materialised ones, penalties added. By parameter, null: not
  // trained.
  void add_gradients(Team& team, std::int64_t n, const std::vector<T*>& to);  // none, where one is not finite: a flaw
  void take_gradients(Team& team, const std::vector<const T*>& from);         // a doubt, where one is not calm

  // The batch's gradients join those that wait, or begin them; on every member of the team. A flaw where one is not
  // finite.
  void collect(Team& team, const BatchJob<T>& job) {
    const bool doubts = work_.doubtful.load(std::memory_order_relaxed);
    collect(team, job, doubts || work_.unbounded.load(std::memory_order_relaxed));
  }

  // Gradients that wait for an update, of another step of the same model.
  void take_waiting(const Update& other);
  void copy_gradient(int param, T* to) const;  // materialised, of a trainable parameter
  std::int64_t gradient_bytes() const { return static_cast<std::int64_t>(sizeof(T)) * gradients_.size(); }

  // The parts, for whoever takes the time of each. Tiles from t on that are updated at once end at end_of_run().
  std::int64_t end_of_run(std::int64_t t, std::int64_t end, std::int64_t n) const;
  bool in_place(int param, std::int64_t n) const { return n <= in_place_[static_cast<std::size_t>(param)]; }
  void run_in_place(Rows run, const Team& team, std::int64_t n, T* scratch);
  void accumulate(std::int64_t t, Team& team, std::int64_t n, bool add, T* g, T* scratch);
  void clip(T* g, std::int64_t n, double scale) const;  // by value, after scaling
  void apply(std::int64_t t, const T* g, const Weights<T>& to) { apply(tiles_[t], g, to); }
  Weights<T>& weights() { return trial_.own(); }
  void set_rate(const BatchJob<T>& job);  // on one thread, while no other updates
  T* tile_gradient(int rank) { return tile_gradient_[static_cast<std::size_t>(rank)].data(); }

 private:
  void make_gradients();
  void run(Team& team, const BatchJob<T>& job, const Weights<T>& to, bool collected);
  void run_fused(Team& team, const BatchJob<T>& job, const Weights<T>& to);
  void collect(Team& team, const BatchJob<T>& job, bool looks);
  void collect_touched(Rows run, const Team& team, const BatchJob<T>& job);
  void apply_touched(std::int64_t t, const T* g, const Weights<T>& to);
  void run_touched(Rows run, const Team& team, std::int64_t n, const Weights<T>& to);
  Rows rows_of(Rows run) const;                  // of the parameter, of tiles of one
  Rows touched_run(Rows left, bool last) const;  // the neighbouring tiles of one parameter, the first or the last ones
  void apply_collected(const Team& team, const Weights<T>& to);
  void scale_collected(const Team& team);
  void precondition(Team& team, const BatchJob<T>& job);
  void apply(const OwnedTile& tile, const T* g, const Weights<T>& to);
  void look_at(std::int64_t t, const T* g, std::int64_t size);
  void look_at(std::int64_t t, const T* g) { look_at(t, g, tiles_[t].size()); }
  std::string layer_of(int param) const;
  void accumulate_in_parts(const ParameterUse& use, const OwnedTile& tile, Team& team, std::int64_t n, bool add, T* g,
                           T* scratch);
  bool clips_norm() const { return work_.config->clip_norm > 0; }
  bool relays(int step, const Team& team) const { return step == 0 && relay_.runs(team); }
  std::int64_t most_in_place(int param) const;
  const Product<T>& product_of(int param) const;  // whose weights are updated in place
  std::int64_t in_place_scratch(std::int64_t n) const;
  void prefetch_weights(const OwnedTile& tile) const;
  double norm_scale();

  Workspace<T>& work_;
  const Tiles<T>& tiles_;
  const Relay<T>& relay_;
  Penalties<T> penalties_;
  Constraints<T> constraints_;
  StepHyper<T> hyper_;
  TrialUpdate<T> trial_;
  Touched<T> touched_;
  std::unique_ptr<Preconditioner<T>> preconditioner_;
  std::vector<std::int64_t> in_place_;  // by parameter: batches up to this have no array for its gradient
  bool materialise_ = false, long_ = false;
  Buffer<T> gradients_;
  std::vector<double> tile_norm_;
  std::atomic<std::int64_t> bad_tile_;    // the first one whose gradient is known not to be finite, or the end
  std::vector<Buffer<T>> tile_gradient_;  // by thread
};

extern template class Update<float>;
extern template class Update<double>;

}  // namespace bp
