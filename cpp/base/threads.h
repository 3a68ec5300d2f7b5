// Teams of threads: the only room that knows OpenMP.
//
// A team runs one function on every member. Members meet at barriers; an exception in one member ends the team's work
// at the next barrier and is thrown again by run_team (OpenMP itself would end the process). On entry each member gets
// the same floating-point environment (round to nearest, denormals flushed, no traps), whatever its thread had, and on
// exit its own back: so results depend neither on which thread did the work nor on the caller's state.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>

#include "base/watch.h"

namespace bp {

int available_cpus();  // by affinity and by the control groups' CPU quota, rounded down; at least 1
int num_threads();     // at most
bool exact_threads();  // exactly, wherever the work is worth that number
void set_num_threads(int n, bool exact = false);
bool have_openmp();

class FloatEnvironment {  // the core's, for the lifetime of the object
 public:
  FloatEnvironment();
  ~FloatEnvironment();
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
  std::uint64_t saved_;
};

class TeamState {  // what may wait throws TeamAborted when a member failed
 public:
  std::uint32_t arrive(int members);
  void wait(std::uint32_t arrival);
  void await(const std::atomic<std::int64_t>& count, std::int64_t least) const;
  void check() const {
    if (aborted_.load(std::memory_order_relaxed)) throw_aborted();
  }
  void abort(std::exception_ptr error);
  void rethrow();

 private:
  [[noreturn]] static void throw_aborted();

  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> generation_{0};
  std::atomic<bool> aborted_{false};
  std::atomic_flag failed_;
  std::exception_ptr error_;
};

struct TeamAborted {};

class Team {
 public:
  Team(TeamState& state, int rank, int size) : rank(rank), size(size), state_(state) {}
  void barrier() {
    if (size == 1) return;
    arrive();
    state_.wait(arrival_);
    arrived_ = false;
  }
  // Early: what the others wait for at the next barrier is done, what only this member needs may still be under way.
  void arrive() {
    if (size == 1 || arrived_) return;
    arrival_ = state_.arrive(size);
    arrived_ = true;
  }
  // Between two parts of long work, each of about this number of operations (Watch), before anything is changed that
  // nobody is to see half done: here the work ends if its caller no longer wants it, or another member has failed.
  void look(double operations) {
    state_.check();
    if (rank == 0) watch_.after(operations);  // the caller's thread
  }
  // Until another member has counted to `least`; what it wrote before that can then be read.
  void await(const std::atomic<std::int64_t>& count, std::int64_t least) const { state_.await(count, least); }
  const int rank, size;

 private:
  TeamState& state_;
  std::uint32_t arrival_ = 0;
  bool arrived_ = false;
  Watch watch_;
};

namespace detail {
using Member = void (*)(void* body, Team& team);
void run_members(int n, Member member, void* body);
}  // namespace detail

// Runs body(team) on n threads (fewer where OpenMP gives fewer, one in a forked child, where libgomp's pool is gone).
template <class Body> void run_team(int n, Body&& body) {
  detail::run_members(
      n, [](void* erased, Team& team) { (*static_cast<std::remove_reference_t<Body>*>(erased))(team); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace bp
