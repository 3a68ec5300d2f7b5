#include "base/threads.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/fork.h"
#include "base/quota.h"

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bp {
namespace {

std::atomic<int> wanted_threads{0};  // below 0: exactly its magnitude

// Who waits spins this many pauses (10-50 us), then gives its core to whoever else wants it, for 0.1 ms, before it
// sleeps: shares of a step differ by tens of microseconds, and to be woken takes as long (784-512-512-10: 2 to 3 %).
// But threads that wait for a Python callback, or that share a core with another member, must not burn it; and of those
// that are awake a busy system lets each wait for its turn, milliseconds, while one that was asleep goes on at once.
constexpr int kSpins = 1000;
constexpr std::chrono::microseconds kYielding{100}, kAsleep{50};

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Patience {  // of one wait
 public:
  // Whether to go on looking; if not, to sleep.
  bool stay_awake() {
    if (++looks_ < kSpins) return relax(), true;
    const auto now = std::chrono::steady_clock::now();
    if (looks_ == kSpins) end_ = now + kYielding;
    if (now >= end_) return false;
    std::this_thread::yield();
    return true;
  }

 private:
  int looks_ = 0;
  std::chrono::steady_clock::time_point end_{};
};

void run_one(Team& team, TeamState& state, detail::Member member, void* body) noexcept {
  try {
    FloatEnvironment environment;
    member(body, team);
  } catch (const TeamAborted&) {
  } catch (...) {
    state.abort(std::current_exception());
  }
}

}  // namespace

int available_cpus() {
  int cpus = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = CPU_COUNT(&set);
#endif
  // Of 1.5 CPUs one: a team that uses up its quota is stopped as a whole for the rest of the period (0.1 s as a rule).
  const double quota = quota_cpus();
  if (quota > 0) cpus = static_cast<int>(std::min<double>(cpus, quota));
  return std::max(cpus, 1);
}

int num_threads() {
  const int wanted = wanted_threads.load(std::memory_order_relaxed);
  if (wanted != 0) return std::abs(wanted);
  static const int available = available_cpus();
  return available;
}

bool exact_threads() { return wanted_threads.load(std::memory_order_relaxed) < 0; }

void set_num_threads(int n, bool exact) { wanted_threads = exact ? -n : n; }

bool have_openmp() {
#ifdef _OPENMP
  return true;
#else
  return false;
#endif
}

FloatEnvironment::FloatEnvironment() {
#if defined(__x86_64__)
  saved_ = _mm_getcsr();
  _mm_setcsr(0x9fc0);  // flush to zero, denormals are zero, all exceptions masked, round to nearest
#elif defined(__aarch64__)
  asm volatile("mrs %0, fpcr" : "=r"(saved_));
  const std::uint64_t flush = std::uint64_t{1} << 24;
  asm volatile("msr fpcr, %0" : : "r"(flush));
#endif
}

FloatEnvironment::~FloatEnvironment() {
#if defined(__x86_64__)
  _mm_setcsr(static_cast<unsigned>(saved_));
#elif defined(__aarch64__)
  asm volatile("msr fpcr, %0" : : "r"(saved_));
#endif
}

std::uint32_t TeamState::arrive(int members) {
  // In this order: an abort after the look at aborted_ raises the generation that wait() watches.
  const std::uint32_t generation = generation_.load(std::memory_order_acquire);
  if (aborted_.load(std::memory_order_acquire)) throw TeamAborted{};
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
  }
  return generation;
}

void TeamState::wait(std::uint32_t arrival) {
  Patience patience;
  while (generation_.load(std::memory_order_acquire) == arrival) {
    if (!patience.stay_awake()) generation_.wait(arrival, std::memory_order_acquire);
  }
  if (aborted_.load(std::memory_order_acquire)) throw TeamAborted{};
}

void TeamState::await(const std::atomic<std::int64_t>& count, std::int64_t least) const {
  Patience patience;
  while (count.load(std::memory_order_acquire) < least) {
    if (aborted_.load(std::memory_order_acquire)) throw TeamAborted{};
    // By the clock: whoever counts would have to wake us each time.
    if (!patience.stay_awake()) std::this_thread::sleep_for(kAsleep);
  }
}

void TeamState::throw_aborted() { throw TeamAborted{}; }

void TeamState::abort(std::exception_ptr error) {
  if (!failed_.test_and_set(std::memory_order_relaxed)) error_ = error;  // the first one is thrown again
  aborted_.store(true, std::memory_order_release);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
}

void TeamState::rethrow() {
  if (error_) std::rethrow_exception(error_);
}

void detail::run_members(int n, Member member, void* body) {
  TeamState state;
#ifdef _OPENMP
  if (n > 1 && forks() == 0 && !omp_in_parallel()) {
#pragma omp parallel num_threads(n)
    {
      Team team(state, omp_get_thread_num(), omp_get_num_threads());
      run_one(team, state, member, body);
    }
    state.rethrow();
    return;
  }
#endif
  Team alone(state, 0, 1);
  run_one(alone, state, member, body);
  state.rethrow();
}

}  // namespace bp
