// Small networks with all they need to be trained, for the C++ test drivers.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

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

  // mixed: Dense, Scale, BatchNormalization, GELU, Dropout, LayerNormalization for each hidden layer, else Dense and
  // GELU.
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
        statistics.attributes = {
            {"mode", "batch"}, {"scale", kTrue}, {"center", kTrue}, {"epsilon", 1e-3}, {"momentum", 0.9}};
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
    params.push_back({arrays.back().data(), shape, name, true, nullptr});
  }
  std::vector<int> latest(int count) const {
    std::vector<int> numbers;
    for (int i = 0; i < count; ++i) numbers.push_back(static_cast<int>(params.size()) - count + i);
    return numbers;
  }
};

struct Options {
  double clip = 0;
  int accumulate = 1;
  bool penalised = false;  // penalties and constraints: kernels and biases in turn
  bool mixed = false;      // layers of all kinds
  bp::Optimizer optimizer = bp::Optimizer::kAdam;
};

// A network, its optimizer and 4 batches and 7 samples of data.
struct Training {
  Network net;
  std::int64_t n;
  std::vector<T> x;
  std::vector<std::int32_t> labels;
  std::shared_ptr<bp::StepConfig<T>> config = std::make_shared<bp::StepConfig<T>>();
  std::vector<std::unique_ptr<std::vector<T>>> slots;
  bp::BatchSource<T> source;

  Training(const std::vector<std::int64_t>& sizes, std::int64_t batch, const Options& options)
      : net(sizes, options.mixed), n(4 * batch + 7), x(values(static_cast<std::size_t>(n * net.in), 1)) {
    for (std::int64_t i = 0; i < n; ++i) labels.push_back(static_cast<std::int32_t>(i % sizes.back()));
    bp::LossConfig<T> loss;
    loss.kind = bp::Loss::kCrossEntropy;
    loss.options = {0};
    config->losses.push_back(bp::bind_loss<T>(*net.graph, net.graph->outputs[0], loss));
    config->needs_values.assign(1, 0);
    config->optimizer = bp::default_config(options.optimizer);
    config->has_optimizer = true;
    config->clip_norm = options.clip;
    config->accumulate_steps = options.accumulate;
    for (const auto& p : net.graph->params) {
      config->slots.emplace_back();
      for (int s = 0; s < bp::slot_count(config->optimizer); ++s) {
        slots.push_back(std::make_unique<std::vector<T>>(static_cast<std::size_t>(bp::size_of(p.shape))));
        config->slots.back().push_back(slots.back()->data());
      }
      if (!options.penalised) continue;
      bp::ConstraintConfig<T> norm;
      norm.kind = bp::Constraint::kNorm;
      norm.axes = p.rows(), norm.inner = p.row_size();
      if (config->constraints.size() % 4 == 3) norm.kind = bp::Constraint::kNonNegative;
      config->constraints.push_back(norm);
      config->penalties.push_back({1e-4, 1e-3, false, nullptr});
    }
    source.xs.emplace_back(view(x, n, net.in));
    source.ys.push_back({{}, labels.data()});
    source.weights.emplace_back();
    source.valid.emplace_back();
    source.n = n;
  }
};

}  // namespace
