#include "base/fork.h"

#include <pthread.h>

namespace bp {
namespace {

// Who is inside of a gate: the number of a thread, which no other has had, above the forks before it came in.
constexpr int kForkBits = 20;
constexpr std::uint64_t kForks = (std::uint64_t{1} << kForkBits) - 1;

std::atomic<std::uint64_t> threads{0}, fork_count{0}, survivor{0};

std::uint64_t this_thread() {
  thread_local std::uint64_t number = 0;
  if (number == 0) number = ++threads;
  return number;
}

bool is_here(std::uint64_t who) { return (who & kForks) == (fork_count & kForks) || who >> kForkBits == survivor; }

void before_fork() { free_in_children().lock(); }
void in_parent() { free_in_children().unlock(); }
void in_child() {
  survivor = this_thread();
  ++fork_count;
  free_in_children().unlock();
}

[[maybe_unused]] const int registered = pthread_atfork(before_fork, in_parent, in_child);

}  // namespace

int forks() { return static_cast<int>(fork_count); }

std::mutex& free_in_children() {
  static std::mutex& mutex = *new std::mutex;  // lives longer than threads that the process's end meets
  return mutex;
}

std::uint64_t Gate::enter() {
  const std::uint64_t me = this_thread() << kForkBits | (fork_count & kForks);
  std::uint64_t who = inside_;
  while (who == 0 || !is_here(who)) {
    if (inside_.compare_exchange_weak(who, me)) return me;
  }
  return 0;
}

void Gate::leave(std::uint64_t who) { inside_.compare_exchange_strong(who, 0); }

bool Gate::held() const {
  const std::uint64_t who = inside_;
  return who != 0 && is_here(who);
}

bool Gate::mine() const {
  const std::uint64_t who = inside_;
  return who >> kForkBits == this_thread();
}

bool Gate::deserted() const {
  const std::uint64_t who = inside_;
  return who != 0 && !is_here(who);
}

}  // namespace bp
