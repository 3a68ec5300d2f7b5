// The first layer's forward pass as a relay, for few samples of many values (784-30-10, batch 10).
//
// Samples shared out, every thread would read all weights, half of which another core has just written, and in the
// update columns of data that another thread gathered. Here a thread has the rows of the weights whose tiles it
// updates, and the columns of the data that meet them: both stay in its cache. The sums go from thread to thread by
// blocks of rows, each adds its part to every chain, so an element is the chain that one thread would compute. What
// travels is the layer's output, and the next batch may start while another thread still updates rows of its own.
#pragma once

#include <array>

#include "base/threads.h"
#include "train/outputs.h"
#include "train/tiles.h"

namespace bp {

template <class T> class Relay {
 public:
  // Finds out whether the first step can be passed on: only its own weights and data, which nothing else reads.
  Relay(const Workspace<T>& work, Outputs<T>& outputs);

  int param() const { return param_; }  // the step's weights; -1: it cannot
  // The legs: each thread of a team has the rows of the weights that it updates, and rows of the batch for the other
  // steps, so that all threads have the same work.
  void share_out(const Tiles<T>& tiles);
  // Room for batches of n samples on teams of up to `threads` threads, where passing on pays.
  void prepare(const BatchSource<T>& source, std::int64_t n, int threads, bool training, std::uint64_t draw);
  bool pays(int threads, std::int64_t n) const;

  bool runs(const Team& team) const { return team.size <= kMostThreads && runs_[at(team.size)]; }
  // Gathers the batch and takes it through the first step; returns the rows that this thread is to go on with.
  Rows pass(Team& team, const BatchJob<T>& job, T* scratch);
  // Asks for the next batch's columns where this thread is going to wait.
  void look_ahead(const Team& team, const BatchJob<T>& job) const;
  const ProductArrays<T>& arrays(const Team& team) const { return arrays_[at(team.size)][at(team.rank)]; }
  T largest_input(const Team& team, Rows rows) const;  // greatest magnitude, or one that is not a number
  void rest() { last_size_ = 0; }                      // a batch that is not passed on
  void fill_frame();  // after a team, for whoever looks at values: the data lie in the frame, as rows

 private:
  static constexpr int kMostThreads = 8;
  template <class V> using ByTeam = std::array<std::array<V, kMostThreads + 1>, kMostThreads + 1>;  // by size and rank
  struct Leg {
    Rows depth{0, 0};      // of the weights that it updates
    double rows_from = 0;  // as a part of the batch: its rows after the relay; legs[size][size]: the end
  };
  struct alignas(128) Passed {  // written by one thread while others look: lines apart, and not fetched in pairs
    std::atomic<std::int64_t> blocks{0};
  };
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  std::int64_t stride(int size, int rank) const;
  void lay();
  T* block(int size, int rank) const;

  const Workspace<T>& work_;
  Outputs<T>& outputs_;
  int input_ = -1, param_ = -1;  // of the sources, of the graph's parameters
  ByTeam<Leg> legs_;
  std::array<bool, kMostThreads + 1> runs_{};  // by size of the team
  Buffer<T> data_;                             // the batch by blocks of columns, one a thread
  ByTeam<ProductArrays<T>> arrays_;            // of the step: with the thread's own block of the data
  std::array<Passed, kMostThreads> passed_;    // by thread: blocks of rows that went through its part, all batches
  std::uint64_t first_draw_ = 0;
  int last_size_ = 0;  // of the team that passed the last batch on; 0: the data lie in the frame
  std::int64_t last_rows_ = 0;
};

extern template class Relay<float>;
extern template class Relay<double>;

}  // namespace bp
