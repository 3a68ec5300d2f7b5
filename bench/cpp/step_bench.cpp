// The whole training step of the networks in docs/benchmarks.md, without Python: forward, loss, backward, accumulate,
// update, with shuffled batches. Arguments: threads.
#include <benchmark/benchmark.h>

#include <cmath>

#include "base/threads.h"
#include "kernels/table.h"
#include "plan/random.h"
#include "train/trainer.h"

namespace {

struct Network {
  const char* name;
  std::vector<std::int64_t> sizes;
  bp::Activation activation;
  std::int64_t batch;
  bp::Optimizer optimizer;
};

const Network kNetworks[] = {
    {"784-30-10 b10", {784, 30, 10}, bp::Activation::kSigmoid, 10, bp::Optimizer::kSgd},
    {"784-128-10 b32", {784, 128, 10}, bp::Activation::kRelu, 32, bp::Optimizer::kAdam},
    {"784-128-64-10 b128", {784, 128, 64, 10}, bp::Activation::kRelu, 128, bp::Optimizer::kAdam},
    {"784-512-512-10 b128", {784, 512, 512, 10}, bp::Activation::kRelu, 128, bp::Optimizer::kAdam},
    {"13-32-16-2 b32", {13, 32, 16, 2}, bp::Activation::kRelu, 32, bp::Optimizer::kAdam},
    {"64-64-64-4 b64", {64, 64, 64, 4}, bp::Activation::kTanh, 64, bp::Optimizer::kAdam},
    {"1024-2048-2048-100 b256", {1024, 2048, 2048, 100}, bp::Activation::kRelu, 256, bp::Optimizer::kSgd},
};

// A trainer with the arrays that Python would own.
struct Bench {
  std::vector<bp::Buffer<float>> arrays;
  bp::Buffer<float> x;
  std::vector<std::int32_t> labels;
  std::unique_ptr<bp::Trainer<float>> trainer;

  explicit Bench(const Network& network) {
    std::vector<bp::NodeSpec<float>> nodes(1);
    nodes[0].op = "input", nodes[0].shape = {network.sizes[0]};
    std::vector<bp::ParameterView<float>> params;
    auto config = std::make_shared<bp::StepConfig<float>>();
    config->has_optimizer = true;
    config->optimizer = bp::default_config(network.optimizer);
    for (std::size_t i = 0; i + 1 < network.sizes.size(); ++i) {
      add_dense(nodes, params, *config, network, i);
    }
    const auto graph =
        std::make_shared<const bp::Graph<float>>(nodes, std::vector<int>{static_cast<int>(nodes.size()) - 1}, params);
    bp::LossConfig<float> loss;
    loss.kind = bp::Loss::kCrossEntropy;
    config->losses.push_back(bp::bind_loss<float>(*graph, graph->outputs[0], loss));
    trainer = std::make_unique<bp::Trainer<float>>(graph, config, std::vector<std::vector<bp::MetricConfig<float>>>(1));
    set_data(network);
  }

  bp::Buffer<float>& array(std::int64_t size, double scale) {
    arrays.emplace_back(size);
    std::vector<double> numbers(static_cast<std::size_t>(size));
    bp::uniform({1, arrays.size()}, size, numbers.data());
    for (std::int64_t i = 0; i < size; ++i) {
      arrays.back()[i] = static_cast<float>(scale * (2 * numbers[static_cast<std::size_t>(i)] - 1));
    }
    return arrays.back();
  }

  void add_dense(std::vector<bp::NodeSpec<float>>& nodes, std::vector<bp::ParameterView<float>>& params,
                 bp::StepConfig<float>& config, const Network& network, std::size_t i) {
    const std::int64_t in = network.sizes[i], out = network.sizes[i + 1];
    const int first = static_cast<int>(params.size());
    params.push_back({array(in * out, 1 / std::sqrt(static_cast<double>(in))).data(), {in, out}, "kernel", true});
    params.push_back({array(out, 0).data(), {out}, "bias", true});
    for (std::size_t p = params.size() - 2; p < params.size(); ++p) {
      config.slots.emplace_back();
      for (int s = 0; s < bp::slot_count(config.optimizer); ++s) {
        config.slots.back().push_back(array(bp::size_of(params[p].shape), 0).data());
      }
    }
    bp::NodeSpec<float> dense;
    dense.op = "dense", dense.name = "dense", dense.inputs = {static_cast<int>(nodes.size()) - 1};
    dense.params = {first, first + 1};
    nodes.push_back(dense);
    if (i + 2 == network.sizes.size()) return;
    bp::NodeSpec<float> activation;
    activation.op = "activation", activation.name = "dense", activation.inputs = {static_cast<int>(nodes.size()) - 1};
    activation.function = network.activation;
    nodes.push_back(activation);
  }

  void set_data(const Network& network) {
    const std::int64_t n = 8 * network.batch, width = network.sizes[0];
    x = std::move(array(n * width, 1));
    for (std::int64_t i = 0; i < n; ++i) labels.push_back(static_cast<std::int32_t>(i % network.sizes.back()));
    bp::ArrayView view;
    view.data = reinterpret_cast<const char*>(x.data());
    view.rank = 2;
    view.shape[0] = n, view.shape[1] = width;
    view.stride[0] = width * 4, view.stride[1] = 4;
    bp::BatchSource<float> source;
    source.n = n;
    source.xs.emplace_back(view);
    source.ys.emplace_back();
    source.ys.back().label = labels.data();
    source.weights.emplace_back();
    source.valid.emplace_back();
    trainer->set_data(std::move(source));
  }
};

void step(benchmark::State& state, const Network& network) {
  bp::set_num_threads(static_cast<int>(state.range(0)), true);
  Bench bench(network);
  const double rate = 1e-4;
  std::uint64_t epoch = 0;
  for (auto _ : state) {  // an epoch of 8 batches
    bench.trainer->start_epoch(network.batch, true, 1, ++epoch, 0, true);
    bench.trainer->run(&rate, 1, -1, 1e9);
  }
  if (bench.trainer->diverged() != nullptr) state.SkipWithError("diverged");
  state.counters["us/step"] = benchmark::Counter(8e-6 * static_cast<double>(state.iterations()),
                                                 benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

}  // namespace

int main(int argc, char** argv) {
  bp::select_tier("");
  for (const Network& network : kNetworks) {
    benchmark::RegisterBenchmark(network.name, [&network](benchmark::State& state) { step(state, network); })
        ->Arg(1)
        ->Arg(2)
        ->UseRealTime();
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
