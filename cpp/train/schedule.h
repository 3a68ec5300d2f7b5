// The first half of a training step: forward, loss and backward as a list of calls, who makes each of them on which
// rows, and where the team meets in between.
//
// It also looks, at each delta, whether it is finite, and whether gradients could be so large that an update is in
// doubt. By blocks of samples a thread takes its samples through all calls without waiting for another. A call by
// columns, or one that sees the whole batch, stands between two barriers.
#pragma once

#include "plan/teamwork.h"
#include "train/finite.h"
#include "train/relay.h"

namespace bp {

enum class Phase { kGather, kForward, kLoss, kObjective, kPrepare, kBackward };

struct Call {
  Phase phase;
  int index;  // of the step, of the output, or of the objective
  Partition partition;
};

template <class T> class Schedule {
 public:
  Schedule(Workspace<T>& work, Outputs<T>& outputs, Relay<T>& relay);

  std::int64_t scratch(std::int64_t n) const;  // for batches of up to n samples
  void prepare(const BatchSource<T>& source, std::int64_t n, bool training);
  bool is_long() const { return long_; }
  bool always_doubts() const;  // a trained layer says nothing about its gradients

  // All calls, in training, or those of forward and loss; on every member of the team.
  void run(Team& team, const BatchJob<T>& job);
  // One half of them, without a relay.
  void forward(Team& team, const BatchJob<T>& job) { make_all(0, first_backward_, rows_of(team, job), team, job); }
  void backward(Team& team, const BatchJob<T>& job) {
    make_all(first_backward_, calls_.size(), rows_of(team, job), team, job);
  }

  // One after the other on one thread, for whoever looks at each: visit(call, rows).
  template <class Visit> void each_call(std::int64_t n, Visit&& visit) const;
  void make(const Call& call, Rows rows, Team& team, const BatchJob<T>& job, T* scratch);

 private:
  static Rows rows_of(const Team& team, const BatchJob<T>& job) {
    return split(job.rows.count(), team.rank, team.size);
  }
  void make_all(std::size_t first, std::size_t end, Rows mine, Team& team, const BatchJob<T>& job);
  bool wanted(const Call& call, const BatchJob<T>& job) const;
  void make_by_columns(const Call& call, std::int64_t n, Team& team, T* scratch);
  void check_delta(int step, Rows rows, const Team& team, std::int64_t batch);
  T largest_input(int step, std::size_t input, Rows rows, const Team& team) const;
  double calm_of(const Step<T>& step) const;

  Workspace<T>& work_;
  Outputs<T>& outputs_;
  Relay<T>& relay_;
  std::vector<Call> calls_;
  std::vector<double> calm_;  // by step: max |x| max |delta| (samples) that surely gives calm gradients (finite.h)
  std::vector<std::vector<int>> data_;  // by step and its inputs: which of the graph's inputs it is, -1: none, or kUnit
  std::vector<double> largest_;         // by input of the graph: no |x| is above it
  bool long_ = false;  // the batches: their calls are cut into pieces that look whether they are still wanted
  std::size_t first_backward_ = 0;  // of the calls
};

template <class T> template <class Visit> void Schedule<T>::each_call(std::int64_t n, Visit&& visit) const {
  for (std::size_t first = 0; first < calls_.size();) {
    std::size_t last = first;
    while (last < calls_.size() && !needs_all_rows(calls_[last].partition)) ++last;
    if (last == first) {
      visit(calls_[first++], Rows{0, n});
      continue;
    }
    for (Rows block{0, 0}; block.begin < n; block.begin = block.end) {
      block.end = std::min(block.begin + kRowBlock, n);
      for (std::size_t c = first; c < last; ++c) visit(calls_[c], block);
    }
    first = last;
  }
}

extern template class Schedule<float>;
extern template class Schedule<double>;

}  // namespace bp
