// Short training runs on three threads for the thread sanitizer: rows, relay, columns and slabs, evaluation beside training,
// a global gradient norm, accumulation over batches, statistics of batches and samples, random masks, penalties and
// constraints, and many threads predicting with one network.
// Build with -DBP_SANITIZE=thread (Clang and its OpenMP runtime); usage: race; a race ends it with the sanitizer's status.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/threads.h"
#include "plan/inference.h"
#include "train/trainer.h"

namespace {

using T = float;

std::vector<T> values(std::size_t n, T scale) {
  std::vector<T> v(n);
  std::uint32_t state = 12345;
  for (T& x : v) x = (static_cast<T>((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-23f - 1) * scale;
  return v;
}

bp::ArrayView view(const std::vector<T>& v, std::int64_t rows, std::int64_t columns) {
  bp::ArrayView a;
  a.data = reinterpret_cast<const char*>(v.data());
  a.rank = 2;
  a.shape[0] = rows, a.shape[1] = columns;
  a.stride[0] = columns * 4, a.stride[1] = 4;
  return a;
}

constexpr std::int64_t kTrue = 1;

struct Network {
  std::vector<std::vector<T>> arrays;
  std::vector<bp::NodeSpec<T>> nodes;
  std::vector<bp::ParameterView<T>> params;
  std::shared_ptr<const bp::Graph<T>> graph;
  std::int64_t in;

  // mixed: Dense, Scale, BatchNormalization, GELU, Dropout, LayerNormalization for each hidden layer, else Dense and GELU.
  explicit Network(const std::vector<std::int64_t>& sizes, bool mixed = false) : in(sizes[0]) {
    add("input", "x").attributes = {{"shape", bp::Shape{in}}};
    for (std::size_t i = 1; i < sizes.size(); ++i) {
      const std::string number = std::to_string(i);
      const std::int64_t width = sizes[i];
      const bool last = i + 1 == sizes.size();
      parameter({sizes[i - 1], width}, "kernel" + number, 0, 0.1f);
      parameter({width}, "bias" + number, 0, 0);
      add("dense", "dense" + number).params = latest(2);
      if (mixed && !last) {
        parameter({width}, "scale" + number, 1, 0.1f);
        add("scale", "scale" + number).params = latest(1);
        for (const char* name : {"gamma", "beta", "mean"}) parameter({width}, name + number, 0.5f, 0.1f);
        parameter({width}, "variance" + number, 1, 0);
        params[params.size() - 2].trainable = params.back().trainable = false;
        bp::NodeSpec<T>& statistics = add("batch_normalization", "batch" + number);
        statistics.params = latest(4);
        statistics.attributes = {{"mode", "batch"}, {"scale", kTrue}, {"center", kTrue}, {"epsilon", 1e-3}, {"momentum", 0.9}};
      }
      if (last) break;
      add("activation", "gelu" + number).attributes = {{"function", "gelu"}};
      if (!mixed) continue;
      bp::NodeSpec<T>& noise = add("noise", "dropout" + number);
      noise.attributes = {{"mode", "dropout"}, {"seed", static_cast<std::int64_t>(i)}, {"rate", 0.2}};
      bp::NodeSpec<T>& layer = add("normalization", "layer" + number);
      layer.attributes = {{"axes", kTrue}, {"centred", kTrue}, {"epsilon", 1e-3}};
    }
    const int out = static_cast<int>(nodes.size()) - 1;
    graph = std::make_shared<const bp::Graph<T>>(std::move(nodes), std::vector<int>{out}, std::move(params));
  }

 private:
  bp::NodeSpec<T>& add(const char* op, const std::string& name) {
    const int before = static_cast<int>(nodes.size()) - 1;
    nodes.emplace_back();
    nodes.back().op = op, nodes.back().name = name;
    if (before >= 0) nodes.back().inputs = {before};
    return nodes.back();
  }
  void parameter(const bp::Shape& shape, const std::string& name, T centre, T spread) {
    arrays.push_back(values(static_cast<std::size_t>(bp::size_of(shape)), spread));
    for (T& w : arrays.back()) w += centre;
    params.push_back({arrays.back().data(), shape, name, true});
  }
  std::vector<int> latest(int count) const {
    std::vector<int> numbers;
    for (int i = 0; i < count; ++i) numbers.push_back(static_cast<int>(params.size()) - count + i);
    return numbers;
  }
};

void train(const std::vector<std::int64_t>& sizes, std::int64_t batch, double clip, int accumulate,
           bool penalised = false, bool mixed = false, bp::Optimizer optimizer = bp::Optimizer::kAdam) {
  Network net(sizes, mixed);
  const std::int64_t n = 4 * batch + 7;
  const auto x = values(static_cast<std::size_t>(n * net.in), 1);
  std::vector<std::int32_t> labels;
  for (std::int64_t i = 0; i < n; ++i) labels.push_back(static_cast<std::int32_t>(i % sizes.back()));
  auto config = std::make_shared<bp::StepConfig<T>>();
  config->losses.push_back(bp::bind_loss<T>(*net.graph, net.graph->outputs[0], {bp::Loss::kCrossEntropy, {0}, 0, 1, nullptr}));
  config->optimizer = bp::default_config(optimizer);
  config->has_optimizer = true;
  config->clip_norm = clip;
  config->accumulate_steps = accumulate;
  std::vector<std::unique_ptr<std::vector<T>>> slots;
  for (const auto& p : net.graph->params) {
    config->slots.emplace_back();
    for (int s = 0; s < bp::slot_count(config->optimizer); ++s) {
      slots.push_back(std::make_unique<std::vector<T>>(static_cast<std::size_t>(bp::size_of(p.shape))));
      config->slots.back().push_back(slots.back()->data());
    }
  }
  if (penalised) {  // kernels and biases in turn
    for (const auto& p : net.graph->params) {
      bp::ConstraintConfig norm;
      norm.kind = bp::Constraint::kNorm;
      norm.axes = p.rows(), norm.inner = p.row_size();
      if (config->constraints.size() % 4 == 3) norm.kind = bp::Constraint::kNonNegative;
      config->constraints.push_back(norm);
      config->penalties.push_back({1e-4, 1e-3, nullptr});
    }
  }
  bp::Trainer<T> trainer(net.graph, config, {{bp::MetricConfig<T>{}}});
  bp::BatchSource<T> source;
  source.xs.emplace_back(view(x, n, net.in));
  source.ys.push_back({{}, labels.data()});
  source.weights.emplace_back();
  source.n = n;
  trainer.set_data(source);
  const double rate = 1e-3;
  for (std::uint64_t epoch = 0; epoch < 2; ++epoch) {
    for (bool update : {true, false}) {
      trainer.reset_results();
      trainer.start_epoch(batch, update, 1, epoch, 0, update);
      trainer.run(&rate, 1, -1, 1e9);
    }
    trainer.gradients(true, mixed);
  }
  std::printf("%zu layers, batch %d, clip %g, accumulate %d: loss %.6f\n", sizes.size() - 1, static_cast<int>(batch), clip,
              accumulate, trainer.results().last_loss);
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
  bp::set_num_threads(3);
  train({784, 128, 10}, 64, 0, 1);  // the first layer passed from thread to thread
  train({200, 90, 40, 6}, 21, 0, 1);
  train({200, 90, 600, 6}, 21, 0, 1, false, false, bp::Optimizer::kSgd);  // weights updated in place
  train({200, 90, 6}, 50, 0, 1, false, true);
  train({13, 32, 16, 2}, 32, 0, 1);
  train({200, 300, 300, 10}, 256, 1, 1);
  train({100, 700, 600, 10}, 16, 0, 1);
  train({100, 700, 700, 700, 10}, 500, 0, 2);
  train({100, 700, 600, 10}, 64, 0, 1, true);
  train({100, 300, 10}, 64, 1, 2, true);
  train({100, 300, 200, 10}, 150, 0, 1, false, true);
  train({100, 300, 10}, 64, 1, 2, true, true);
  train({100, 700, 600, 10}, 129, 0, 1, true, true);
  predict_on_many_threads();
  std::puts("done");
  return 0;
}
