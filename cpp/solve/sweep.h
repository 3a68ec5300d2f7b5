// Passes over a data set for whoever solves or differentiates: rows in chunks of a fixed size, forward that keeps,
// backward from any deltas, gradients of any rows. Memory is that of a chunk, whatever the number of rows.
//
// The trained parameters are one vector w (P): each in C order, where the caller's offsets say. Layers are in inference
// mode. Bits do not depend on the number of threads: a row's values and deltas depend on no other row, chunks depend on
// shapes alone, and an element of a sum belongs to one thread, which adds the chunks in order.
#pragma once

#include <functional>
#include <map>
#include <typeindex>

#include "base/crew.h"
#include "plan/teamwork.h"
#include "train/outputs.h"

namespace bp {

using Poll = std::function<void()>;  // called between chunks on the caller's thread; may throw, which ends the work

template <class T> std::vector<int> predictions(const StepConfig<T>& config) {  // what the losses read
  std::vector<int> values;
  for (const BoundLoss<T>& loss : config.losses) values.push_back(loss.prediction);
  return values;
}

// What a member of a team has of a chunk. Rows of the chunk count from 0.
struct Part {
  Team& team;
  Rows data;  // the chunk, as rows of the data
  Rows mine;  // of the chunk
  Rows all() const { return {0, data.count()}; }
};

template <class T> class Sweep {
 public:
  // heads: values where deltas come in. offsets: by parameter, its place in w; -1: none.
  Sweep(std::shared_ptr<const Graph<T>> graph, std::shared_ptr<const StepConfig<T>> config, std::vector<int> heads,
        std::vector<std::int64_t> offsets, PlanOptions options = {});

  const Graph<T>& graph() const { return *work_.graph; }
  const Plan<T>& plan() const { return *work_.plan; }
  const StepConfig<T>& config() const { return *work_.config; }
  const std::vector<std::int64_t>& offsets() const { return offsets_; }
  std::int64_t size() const { return size_; }  // P
  std::size_t heads() const { return heads_.size(); }
  int head(std::size_t h) const { return heads_[h]; }
  std::int64_t head_size(std::size_t h) const { return graph().size(heads_[h]); }  // of a sample
  std::int64_t outputs() const { return outputs_; }                                // of all heads, a sample
  bool together() const { return together_; }  // code of the user's takes a chunk as a whole, on one thread

  // How a refusal of data ends: what else there is, for whoever trains.
  void or_else(std::string advice) { or_else_ = std::move(advice); }

  void read_weights(T* w) const;
  void write_weights(const T* w);

  // Before the passes over chunks of up to `chunk` samples, order[rows] of the source; on one thread. run() does it.
  void prepare(const BatchSource<T>& source, std::int64_t chunk, int threads, const std::int64_t* order = nullptr);

  // body(part) on each member of a team, chunk after chunk, with a barrier after each; as many members as pay, at most
  // `threads`.
  template <class Body>
  void run(const BatchSource<T>& source, std::int64_t chunk, int threads, const Poll& poll, Body&& body);

  // Of the member's rows, in this order. Losses: their values, and where wanted the deltas of their mean over n
  // samples.
  void forward(const Part& part);
  void gather_targets(const Part& part, std::int64_t n);
  void losses(const Part& part, std::int64_t n, bool deltas);
  void renew(
      const Part& part);  // before a further backward: the deltas of all heads are 0, what backward spends is back
  void backward(const Part& part);
  void accumulate(const Part& part, Rows rows, T* g);  // g (P) = the gradient summed over some rows of the chunk

  // After a barrier: the member's share of the gradient's elements, summed over the chunk.
  void accumulate_share(const Part& part, T* g, bool add);

  T* value(int v) { return work_.frame->value(v); }
  T* gradient(int v) { return work_.frame->gradient(v); }  // null: no weight is behind it
  Io<T>& io(std::size_t step) { return work_.frame->io(step); }
  T* scratch(const Part& part) { return work_.scratch[static_cast<std::size_t>(part.team.rank)].data(); }
  std::int64_t scratch_size(std::int64_t samples) const;  // of any call of an op, of gradients of whole parameters too
  const std::shared_ptr<const Plan<T>>& shared_plan() const { return work_.plan; }
  // total + the losses of the chunk's rows, one after the other: of all outputs, weighted, in the unit of one sample.
  double add_losses(Rows rows, double total) const;
  const Outputs<T>& losses() const { return losses_; }  // of the last chunk
  LossArgs<T> loss_arguments(std::size_t k, Rows rows, std::int64_t n);

 private:
  void accumulate(const Part& part, std::size_t param, Rows of_param, Rows rows, T* g, bool add);
  BatchJob<T> job(const Part& part, std::int64_t n) const;

  Workspace<T> work_;
  Outputs<T> losses_;
  std::vector<int> heads_;
  std::vector<std::int64_t> offsets_;
  std::int64_t size_ = 0, outputs_ = 0;
  bool together_ = false;
  std::string or_else_;
  const BatchSource<T>* source_ = nullptr;
  const std::int64_t* order_ = nullptr;
  std::map<std::type_index, Crew> crews_;  // by kind of pass
  std::vector<std::size_t> spending_;      // steps whose backward may overwrite what they saved
  std::vector<Buffer<T>> saved_;           // and a copy of that, for each
};

template <class T>
template <class Body>
void Sweep<T>::run(const BatchSource<T>& source, std::int64_t chunk, int threads, const Poll& poll, Body&& body) {
  chunk = std::max<std::int64_t>(std::min(chunk, source.n), 1);
  threads = together_ ? 1 : std::min(threads, num_threads());
  prepare(source, chunk, threads);
  const double guess = seconds_for(3 * plan().flops() * source.n);
  run_crew(crews_[typeid(Body)], threads, guess, static_cast<double>(source.n), [&](Team& team) {
    for (Rows data{0, 0}; data.begin < source.n; data.begin = data.end) {
      data.end = std::min(data.begin + chunk, source.n);
      if (team.rank == 0 && poll) poll();
      body(Part{team, data, split(data.count(), team.rank, team.size)});
      team.barrier();
    }
  });
}

extern template class Sweep<float>;
extern template class Sweep<double>;

}  // namespace bp
