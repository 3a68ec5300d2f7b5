#include "base/crew.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdio>
#include <utility>

namespace bp {
namespace {

constexpr double kWindow = 1e-3;   // seconds of work that are compared: tens of small batches
constexpr double kAverage = 0.03;  // seconds averaged, as a window may hold a neighbour's whole turn, or none of it
constexpr double kMargin = 0.97;   // what more threads may take of the time of fewer
constexpr double kNear = 1.5;      // and what of it, while they wake up, for a second window
constexpr double kLost = 2;        // times the least cost: half of the time is lost
constexpr double kStall = 3, kForget = 1.0002;
constexpr double kQuiet = 0.1;  // seconds of work without a stall
// From then on barriers, and a first try on one thread, are nothing and much beside a unit.
constexpr double kLongUnit = 5e-3;
constexpr double kFirstWait = 0.01, kMostWait[2] = {1, 0.5};  // to fewer threads, to more
constexpr double kFirstBatches = 10, kBatches[2] = {50, 10};  // and at least the time of this number of batches
constexpr double kTrials = 50, kMostPatience = 10;

std::atomic<int> forced{0};

struct Told {
  std::atomic<int> used{0}, most{0}, other{0};
  std::atomic<double> seconds{0}, other_seconds{0}, rows{0};
} told;

Crew::Clock::duration of_seconds(double seconds) {
  return std::chrono::duration_cast<Crew::Clock::duration>(std::chrono::duration<double>(seconds));
}

std::string time_text(double seconds) {
  char text[32];
  const bool small = seconds < 1e-3;
  std::snprintf(text, sizeof text, "%.3g %s", seconds * (small ? 1e6 : 1e3), small ? "us" : "ms");
  return text;
}

}  // namespace

void force_crews(int seed) { forced = seed; }

std::string last_crew() {
  if (told.used == 0) return {};
  std::string text = std::to_string(told.used) + " of " + std::to_string(told.most);
  char rows[32];
  std::snprintf(rows, sizeof rows, "%.0f", told.rows.load());
  text += std::string(": a batch of ") + rows + " rows took " + time_text(told.seconds);
  if (told.other > 0) text += ", with " + std::to_string(told.other) + " threads " + time_text(told.other_seconds);
  return text;
}

int Crew::next(int most, double guess, Clock::time_point now) {
  if (const int seed = forced.load(std::memory_order_relaxed); seed != 0 && most > 1) {
    static std::atomic<std::uint32_t> calls{0};
    const std::uint32_t mixed = (++calls * 2654435761u) ^ (static_cast<std::uint32_t>(seed) * 2246822519u);
    return 1 + static_cast<int>((mixed >> 7) % static_cast<std::uint32_t>(most));
  }
  if (most == 1 || exact_threads()) return most;
  if (most != most_) begin(most, guess, now);
  return members(target());
}

void Crew::begin(int most, double guess, Clock::time_point now) {
  *this = Crew{};
  most_ = most;
  top_ = static_cast<int>(std::bit_width(static_cast<unsigned>(most - 1)));
  rung_ = guess >= kLongUnit ? top_ : 0;
  since_ = now;
  ways_[0] = ways_[1] = {0, now};
}

bool Crew::add(int size, double units, double seconds, Clock::time_point now) {
  if (forced.load(std::memory_order_relaxed) != 0) return true;
  if (most_ <= 1 || exact_threads() || size != members(target())) return false;
  if (units > 0) batch_ = units;
  units_ += units;
  seconds_ += seconds;
  if (seconds_ < kWindow || units_ <= 0) return false;
  measured(std::exchange(units_, 0), std::exchange(seconds_, 0), now);
  return members(target()) != size;
}

void Crew::measured(double units, double seconds, Clock::time_point now) {
  Rung& rung = rungs_[target()];
  if (trial_ >= 0) {
    rung = {seconds, units};
    return judge(now);
  }
  const bool first = !rung.known();
  const double rest = std::exp(-seconds / kAverage);
  rung = {rung.seconds * rest + seconds, rung.units * rest + units};
  const double cost = seconds / units;
  best_ = best_ == 0 ? cost : std::min(cost, best_ * kForget);
  if (first) {
    put_off(false, now, true);
    tell();
  }
  if (rung_ > 0 && rung.cost() > kLost * best_) return give_up(now);
  undisturbed_ = cost > kStall * best_ ? 0 : undisturbed_ + seconds;
  if (undisturbed_ == 0) disturbed_ = true;
  if (disturbed_ && undisturbed_ > kQuiet) {  // the load has ended
    disturbed_ = false;
    ways_[1] = {0, now};
  }
  if (rung_ > 0 && now >= ways_[0].next) {
    trial_ = rung_ - 1;
  } else if (rung_ < top_ && now >= ways_[1].next) {
    trial_ = rung_ + 1;
  }
  awake_ = false;
  trial_since_ = now;
}

void Crew::judge(Clock::time_point now) {
  const bool up = trial_ > rung_;
  const double usual = rungs_[rung_].cost(), cost = rungs_[trial_].cost();
  if (up && cost >= kMargin * usual && cost < kNear * usual && !std::exchange(awake_, true)) return;
  if (up ? cost < kMargin * usual : kMargin * cost <= usual) {
    move_to(trial_, now);
    put_off(false, now, up);
    if (up) {
      ways_[1].next = now;  // and on, while it pays
    } else {
      put_off(true, now);
    }
  } else {
    trial_ = -1;
    put_off(up, now);
  }
  tell();
}

// Half of its time a team has lost, waiting: no need to try whether fewer threads lose less.
void Crew::give_up(Clock::time_point now) {
  trial_since_ = since_;
  rungs_[rung_ - 1] = {};
  disturbed_ = true;
  undisturbed_ = 0;
  move_to(rung_ - 1, now);
  put_off(true, now);
  tell();
}

// What has served for a second was right: the next trial the other way need not wait for as long as the last ones.
void Crew::move_to(int rung, Clock::time_point now) {
  if (rung < rung_ && now - since_ > std::chrono::seconds(1)) ways_[1].wait = 0, trial_since_ = now;
  trial_ = -1;
  rung_ = rung;
  since_ = now;
  best_ = rungs_[rung].cost();
}

// A trial that fails is not to take more than a fiftieth of the time.
void Crew::put_off(bool up, Clock::time_point now, bool first) {
  Way& way = ways_[up];
  const double cost = rungs_[rung_].cost() * batch_;
  const double tried = std::chrono::duration<double>(now - trial_since_).count();
  const double least = std::max(kFirstWait, kFirstBatches * cost);
  const double most = std::max({kMostWait[up], kBatches[up] * cost, std::min(kTrials * tried, kMostPatience)});
  way.wait = first ? least : std::min(std::max(2 * way.wait, least), most);
  way.next = now + of_seconds(way.wait);
}

int Crew::compared() const {
  for (const int other : {rung_ - 1, rung_ + 1}) {
    if (other >= 0 && other <= top_ && rungs_[other].known()) return other;
  }
  return -1;
}

std::string Crew::explain() const {
  if (most_ <= 1) return {};
  std::string text = std::to_string(members(rung_)) + " of " + std::to_string(most_);
  if (!rungs_[rung_].known()) return text + ", not measured yet";
  text += ", a batch took " + time_text(rungs_[rung_].cost() * batch_);
  const int other = compared();
  if (other < 0) return text;
  return text + ", with " + std::to_string(members(other)) + " threads " + time_text(rungs_[other].cost() * batch_);
}

void Crew::tell() const {
  const int other = compared();
  told.used = members(rung_);
  told.most = most_;
  told.rows = batch_;
  told.seconds = rungs_[rung_].cost() * batch_;
  told.other = other < 0 ? 0 : members(other);
  told.other_seconds = other < 0 ? 0 : rungs_[other].cost() * batch_;
}

Crew& Crews::of(std::int64_t rows) {
  return crews_[static_cast<int>(std::bit_width(static_cast<std::uint64_t>(rows)))];
}

}  // namespace bp
