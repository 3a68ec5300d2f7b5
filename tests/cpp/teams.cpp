// The number of threads may change at any batch: what prepare() lays out once, for the most threads there will be,
// serves every smaller team, whichever came before, without an allocation and without a change of bits. Twelve batches
// of several networks by teams of ever another size against the same by one thread. usage: teams; ends with 1 where
// bits differ.
#include <cstdio>
#include <cstring>
#include <functional>

#include "base/threads.h"
#include "networks.h"

namespace {

constexpr int kMost = 4, kBatches = 12;

// All weights and slots after kBatches batches, batch b by a team of team(b) threads.
std::vector<std::vector<T>> train(const std::vector<std::int64_t>& sizes, std::int64_t batch, const Options& options,
                                  const std::function<int(int)>& team) {
  Training made(sizes, batch, options);
  bp::TrainingStep<T> step(made.net.graph, made.config, false);
  step.prepare(made.source, batch, kMost, true, 0);
  step.penalties().refresh();
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < made.n; ++i) order.push_back(i * 5 % made.n);
  bp::BatchJob<T> job{};
  job.source = &made.source;
  job.training = job.commit = true;
  job.learning_rate = 1e-2;
  job.step = 1;
  for (int b = 0; b < kBatches; ++b) {
    const std::int64_t begin = b % 5 * batch;
    job.order = b % 2 == 0 ? order.data() : nullptr;
    job.rows = {begin, std::min(begin + batch, made.n)};
    job.update = (b + 1) % options.accumulate == 0;
    job.add_gradients = b % options.accumulate > 0;
    job.gradient_scale = 1.0 / options.accumulate;
    job.draw = static_cast<std::uint64_t>(b);
    bool sound = false;
    bp::run_team(team(b),
                 [&](bp::Team& members) { step.run(members, job, [&](bool all_finite) { sound = all_finite; }); });
    if (!sound) std::exit(2);
    job.step += job.update;
  }
  std::vector<std::vector<T>> result;
  for (const auto& p : made.net.graph->params) result.emplace_back(p.value, p.value + bp::size_of(p.shape));
  for (const auto& slot : made.slots) result.push_back(*slot);
  return result;
}

bool same(const std::vector<std::int64_t>& sizes, std::int64_t batch, const Options& options) {
  const auto expected = train(sizes, batch, options, [](int) { return 1; });
  const std::function<int(int)> teams[] = {
      [](int b) { return b % kMost + 1; },           // 1 2 3 4 1 2 ..
      [](int b) { return kMost - b % kMost; },       // 4 3 2 1 4 3 ..
      [](int b) { return b % 3 == 1 ? kMost : 2; },  // 2 4 2 2 4 2 ..
  };
  for (const auto& team : teams) {
    const auto found = train(sizes, batch, options, team);
    for (std::size_t k = 0; k < found.size(); ++k) {
      if (std::memcmp(found[k].data(), expected[k].data(), found[k].size() * sizeof(T)) == 0) continue;
      std::printf("%ld-..-%ld, batch %ld: array %zu has other bits\n", static_cast<long>(sizes.front()),
                  static_cast<long>(sizes.back()), static_cast<long>(batch), k);
      return false;
    }
  }
  return true;
}

}  // namespace

int main() {
  bp::select_tier("");
  bp::set_num_threads(kMost);
  const auto sgd = bp::Optimizer::kSgd;
  const bool all = same({784, 30, 10}, 10, {}) &&                      // the first layer passed from thread to thread
                   same({784, 30, 10}, 10, {.optimizer = sgd}) &&      // and updated in place
                   same({200, 90, 600, 6}, 21, {.optimizer = sgd}) &&  // wide weights updated in place
                   same({784, 128, 10}, 64, {.clip = 0.1}) && same({200, 90, 6}, 50, {.mixed = true}) &&
                   same({100, 700, 600, 10}, 16, {.accumulate = 2}) && same({100, 300, 10}, 64, {.penalised = true}) &&
                   same({60, 90, 10}, 33, {.clip = 1, .accumulate = 3, .penalised = true, .mixed = true});
  if (all) std::puts("one result for all teams");
  return all ? 0 : 1;
}
