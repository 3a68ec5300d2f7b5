// Short training runs on three threads for the thread sanitizer: rows, relay, columns and slabs, evaluation beside
// training, a global gradient norm, accumulation over batches, statistics of batches and samples, random masks,
// penalties and constraints, and many threads predicting with one network. Build with -DBP_SANITIZE=thread (Clang and
// its OpenMP runtime); usage: race; a race ends it with the sanitizer's status.
#include <cstdio>
#include <thread>
#include <vector>

#include "base/threads.h"
#include "networks.h"
#include "plan/inference.h"

namespace {

void train(const std::vector<std::int64_t>& sizes, std::int64_t batch, const Options& options) {
  Training made(sizes, batch, options);
  bp::Trainer<T> trainer(made.net.graph, made.config, {{bp::MetricConfig<T>{}}});
  trainer.set_data(made.source);
  const double rate = 1e-3;
  for (std::uint64_t epoch = 0; epoch < 2; ++epoch) {
    for (bool update : {true, false}) {
      trainer.reset_results();
      trainer.start_epoch(batch, update, 1, epoch, 0, update);
      trainer.run(&rate, 1, -1, 1e9);
    }
    trainer.gradients(true, options.mixed);
  }
  std::printf("%zu layers, batch %d, clip %g, accumulate %d: loss %.6f\n", sizes.size() - 1, static_cast<int>(batch),
              options.clip, options.accumulate, trainer.results().last_loss);
}

void predict_on_many_threads() {
  Network net({20, 64, 5});
  bp::Inference<T> inference(net.graph);
  const auto x = values(20 * 3000, 1);
  std::vector<std::thread> pool;
  for (int t = 0; t < 4; ++t) {
    pool.emplace_back([&] {
      std::vector<T> y(5 * 3000);
      for (int i = 0; i < 5; ++i) inference.run({bp::RowReader<T>(view(x, 3000, 20))}, 3000, {y.data()}, false, 0);
      for (int i = 0; i < 50; ++i) inference.run_direct(x.data(), 3, y.data());
    });
  }
  for (std::thread& thread : pool) thread.join();
}

}  // namespace

int main(int argc, char** argv) {
  if (bp::select_tier(argc > 1 ? argv[1] : "") == nullptr) return 2;
  bp::set_num_threads(3, true);
  const auto sgd = bp::Optimizer::kSgd;
  train({784, 128, 10}, 64, {});  // the first layer passed from thread to thread
  train({200, 90, 40, 6}, 21, {});
  train({200, 90, 600, 6}, 21, {.optimizer = sgd});  // weights updated in place
  train({200, 90, 6}, 50, {.mixed = true});
  train({13, 32, 16, 2}, 32, {});
  train({200, 300, 300, 10}, 256, {.clip = 1});
  train({100, 700, 600, 10}, 16, {});
  train({100, 700, 700, 700, 10}, 500, {.accumulate = 2});
  train({100, 700, 600, 10}, 64, {.penalised = true});
  train({100, 300, 10}, 64, {.clip = 1, .accumulate = 2, .penalised = true});
  train({100, 300, 200, 10}, 150, {.mixed = true});
  train({100, 300, 10}, 64, {.clip = 1, .accumulate = 2, .penalised = true, .mixed = true});
  train({100, 700, 600, 10}, 129, {.penalised = true, .mixed = true});
  predict_on_many_threads();
  std::puts("done");
  return 0;
}
