// Update of parameters whose gradients go through a matrix first (train/preconditioner.h).
#include "train/update.h"

#include <algorithm>

namespace bp {

// In a trial: no bound holds for what a matrix makes of gradients.
template <class T> void Update<T>::precondition(Team& team, const BatchJob<T>& job) {
  if (job.commit) preconditioner_->look(team, job);
  if (!preconditioner_->flaw().empty()) return work_.flaw();
  if (!job.update) return;
  const Rows mine = tiles_.of(team.rank, team.size);
  const auto each_copy = [&](auto&& copy) {
    for (std::int64_t t = mine.begin; t < mine.end; ++t) {
      T* const whole = preconditioner_->gradient(tiles_[t].param);
      each_run(tiles_[t], work_.param(tiles_[t].param),
               [&](std::int64_t at_param, std::int64_t at_tile, std::int64_t n) {
                 copy(whole + at_param, gradients_.data() + tiles_[t].offset + at_tile, n);
               });
    }
  };
  each_copy([](T* whole, const T* tile, std::int64_t n) { std::copy_n(tile, n, whole); });
  team.barrier();
  preconditioner_->run(team, job);
  if (!preconditioner_->flaw().empty()) return work_.flaw();
  each_copy([](const T* whole, T* tile, std::int64_t n) { std::copy_n(whole, n, tile); });
}

template void Update<float>::precondition(Team&, const BatchJob<float>&);
template void Update<double>::precondition(Team&, const BatchJob<double>&);

}  // namespace bp
