// How many threads pay for work that comes again and again (batches of one size): measured, as no rule knows who else
// is on the machine. Bits do not depend on the number, so it may change at any batch.
//
// The choice is among 1, 2, 4, .. and the most that the work is worth. Work of microseconds begins on one thread; then
// twice as many are tried for a millisecond, and kept where they are kMargin faster; as threads that were asleep take
// some of it to wake up, one that comes near counts for nothing, and the millisecond behind it decides. A team costs
// more than it gives where other processes take turns with its members, so that all wait at a barrier for the one that
// is not running, or where memory travels slowly between cores. It is given up when it has lost half of the time of
// some hundredths of a second, against its best millisecond, and when half as many threads turn out to be as fast. Both
// ways are tried again now and then, at intervals that grow as long as the answer stays the same, to half a second for
// more threads and to a second for fewer, or to 50 times what a trial took; more of them as soon as a tenth of a second
// of work was not disturbed any more.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "base/threads.h"

namespace bp {

class Crew {
 public:
  using Clock = std::chrono::steady_clock;

  // Threads for the next units, of `most` that are allowed and worth waking; `guess`: seconds a unit may take.
  int next(int most, double guess, Clock::time_point now);
  // A number of units (rows of a batch) took `size` threads so long: whether the next ones are for another number.
  bool add(int size, double units, double seconds, Clock::time_point now);
  std::string explain() const;  // how many, and why

 private:
  static constexpr int kRungs = 11;  // up to 1024 threads
  struct Rung {                      // sums that fade within hundredths of a second
    double seconds = 0, units = 0;
    bool known() const { return units > 0; }
    double cost() const { return known() ? seconds / units : 0; }
  };
  struct Way {  // to fewer threads, to more
    double wait = 0;
    Clock::time_point next{};
  };
  int members(int rung) const { return rung >= top_ ? most_ : 1 << rung; }
  int compared() const;  // a rung beside the present one whose cost is known, or -1
  int target() const { return trial_ >= 0 ? trial_ : rung_; }
  void begin(int most, double guess, Clock::time_point now);
  void measured(double units, double seconds, Clock::time_point now);
  void judge(Clock::time_point now);
  void give_up(Clock::time_point now);
  void move_to(int rung, Clock::time_point now);
  void put_off(bool up, Clock::time_point now, bool first = false);
  void tell() const;

  int most_ = 0, top_ = 0, rung_ = 0, trial_ = -1;
  bool awake_ = false;              // the members of a trial, as they have worked for a window
  double batch_ = 0;                // units of the last call of add()
  double units_ = 0, seconds_ = 0;  // of the window under way
  double best_ = 0;                 // cost of a window, lately
  double undisturbed_ = 0;          // seconds of work since a window cost several times as much
  bool disturbed_ = false;          // there was one, and not much has been done since
  Rung rungs_[kRungs];
  Way ways_[2];
  Clock::time_point since_{}, trial_since_{};
};

class Crews {  // one for each magnitude of batch size
 public:
  Crew& of(std::int64_t rows);

 private:
  std::map<int, Crew> crews_;
};

// A unit of work on as many threads as pay.
template <class Body> void run_crew(Crew& crew, int most, double guess, double units, Body&& body) {
  if (most == 1) return run_team(1, body);
  const auto start = Crew::Clock::now();
  int members = 1;
  run_team(crew.next(most, guess, start), [&](Team& team) {
    if (team.rank == 0) members = team.size;  // fewer where the system gives fewer
    body(team);
  });
  const auto end = Crew::Clock::now();
  crew.add(members, units, std::chrono::duration<double>(end - start).count(), end);
}

std::string last_crew();  // what the last one that chose anew has to say, of any work

// For tests: other numbers at every batch, in an order that follows from the seed; 0: as measured.
void force_crews(int seed);

}  // namespace bp
