#include "solve/derivatives.h"

#include <algorithm>

#include "plan/teamwork.h"
#include "solve/curvature.h"
#include "solve/tangents.h"

namespace bp {
namespace {

constexpr std::int64_t kChunk = 256;  // samples

template <class T> ConfigPtr<T> no_losses() { return std::make_shared<StepConfig<T>>(); }

// body(head, j) after a backward pass from value j of that head, of the member's rows.
template <class T, class Body> void each_output(Sweep<T>& sweep, const Part& part, Body body) {
  for (std::size_t h = 0; h < sweep.heads(); ++h) {
    const int head = sweep.head(h);
    const std::int64_t size = sweep.head_size(h);
    T* const delta = sweep.gradient(head);
    for (std::int64_t j = 0; j < size; ++j) {
      sweep.renew(part);
      for (std::int64_t r = part.mine.begin; delta != nullptr && r < part.mine.end; ++r) delta[r * size + j] = T(1);
      sweep.backward(part);
      body(head, j);
    }
  }
}

// body(output of the graph, row r of the chunk, place of (row of the data, value of the output)), for each value of
// each output and the member's rows, after a backward pass from that value.
template <class T, class Body> void each_row_of_outputs(Sweep<T>& sweep, const Part& part, Body body) {
  const std::vector<int>& outputs = sweep.graph().outputs;
  each_output(sweep, part, [&](int head, std::int64_t j) {
    for (std::size_t k = 0; k < outputs.size(); ++k) {
      if (sweep.plan().root(outputs[k]) != head) continue;
      for (std::int64_t r = part.mine.begin; r < part.mine.end; ++r) {
        body(k, r, (part.data.begin + r) * sweep.graph().size(head) + j);
      }
    }
  });
}

template <class T> int threads_of(const Sweep<T>& sweep, std::int64_t samples, std::int64_t passes) {
  return threads_for((2 * passes + 1) * sweep.plan().flops() * samples, samples);
}

// J v of the member's rows, by head: into u[h] (rows of the chunk, size).
template <class T>
void times_jacobian(Sweep<T>& sweep, const Part& part, const T* v, T* row, std::vector<Buffer<T>>& u) {
  std::size_t h = 0;
  each_output(sweep, part, [&](int head, std::int64_t j) {
    while (sweep.head(h) != head) ++h;
    for (std::int64_t r = part.mine.begin; r < part.mine.end; ++r) {
      sweep.accumulate(part, {r, r + 1}, row);
      u[h][r * sweep.head_size(h) + j] = kernels<T>().dot(row, v, sweep.size());
    }
  });
}

// to of the head of each loss += H times u of it.
template <class T, class Value>
void add_curvature(Sweep<T>& sweep, const Part& part, std::int64_t n, bool expected, Value u, const std::vector<T*>& to,
                   T* work) {
  const Rows mine = part.mine;
  if (mine.count() == 0) return;
  for (std::size_t k = 0; k < sweep.config().losses.size(); ++k) {
    const BoundLoss<T>& loss = sweep.config().losses[k];
    if (to[k] == nullptr) continue;
    const LossArgs<T> args = sweep.loss_arguments(k, mine, n);
    const std::int64_t size = args.rows * args.n, offset = mine.begin * loss.positions * loss.width;
    measure_curvature(loss, args, expected, work);
    T* const product = work + curvature_size(size);
    times_curvature(loss, args, work, u(k) + offset, product);
    kernels<T>().axpy(T(1), product, to[k] + offset, size);
  }
}

template <class T> std::int64_t curvature_work(const StepConfig<T>& config, std::int64_t samples) {
  std::int64_t most = 1;
  for (const BoundLoss<T>& loss : config.losses) {
    const std::int64_t size = samples * loss.positions * loss.width;
    most = std::max(most, curvature_size(size) + size);
  }
  return most;
}

template <class T> std::vector<Buffer<T>> by_thread(int threads, std::int64_t size) {
  std::vector<Buffer<T>> all;
  for (int i = 0; i < threads; ++i) all.emplace_back(size, kUnwritten);
  return all;
}

template <class T> void expect_second_derivatives(const StepConfig<T>& config, const Graph<T>& graph) {
  for (const BoundLoss<T>& loss : config.losses) {
    check(loss.config.whole == nullptr,
          "the loss is " + describe(loss) + ", which has no second derivative; use another of bpcore.losses");
  }
  for (std::size_t p = 0; p < config.penalties.size(); ++p) {
    check(config.penalties[p].user == nullptr,
          "the penalty on '" + graph.params[p].name + "' is in Python, which has no second derivative; use L1 or L2");
  }
}

}  // namespace

template <class T>
void jacobian(const GraphPtr<T>& graph, const Offsets& offsets, const BatchSource<T>& source, const std::vector<T*>& to,
              const Poll& poll) {
  Sweep<T> sweep(graph, no_losses<T>(), graph->outputs, offsets);
  const std::int64_t chunk = sweep.together() ? 1 : kChunk;
  sweep.run(source, chunk, threads_of(sweep, source.n, sweep.outputs()), poll, [&](const Part& part) {
    sweep.forward(part);
    each_row_of_outputs(sweep, part, [&](std::size_t k, std::int64_t r, std::int64_t place) {
      sweep.accumulate(part, {r, r + 1}, to[k] + place * sweep.size());
    });
  });
}

template <class T>
void input_jacobian(const GraphPtr<T>& graph, const BatchSource<T>& source, const std::vector<std::vector<T*>>& to,
                    const Poll& poll) {
  PlanOptions options;
  options.wrt_inputs = true;
  Sweep<T> sweep(graph, no_losses<T>(), graph->outputs, Offsets(graph->params.size(), -1), options);
  const std::int64_t chunk = sweep.together() ? 1 : kChunk;
  sweep.run(source, chunk, threads_of(sweep, source.n, sweep.outputs()), poll, [&](const Part& part) {
    sweep.forward(part);
    each_row_of_outputs(sweep, part, [&](std::size_t k, std::int64_t r, std::int64_t place) {
      for (std::size_t i = 0; i < graph->inputs.size(); ++i) {
        const int input = graph->inputs[i];
        const std::int64_t width = graph->size(input);
        const T* const gradient = sweep.plan().computed(input) ? sweep.gradient(input) : nullptr;
        if (gradient == nullptr) {
          std::fill_n(to[k][i] + place * width, width, T(0));
        } else {
          std::copy_n(gradient + r * width, width, to[k][i] + place * width);
        }
      }
    });
  });
}

template <class T>
void sample_gradients(const GraphPtr<T>& graph, const ConfigPtr<T>& config, const Offsets& offsets,
                      const BatchSource<T>& source, T* to, const Poll& poll) {
  Sweep<T> sweep(graph, config, predictions(*config), offsets);
  sweep.run(source, sweep.together() ? 1 : kChunk, threads_of(sweep, source.n, 1), poll, [&](const Part& part) {
    sweep.forward(part);
    sweep.losses(part, 1, true);
    sweep.backward(part);
    for (std::int64_t r = part.mine.begin; r < part.mine.end; ++r) {
      sweep.accumulate(part, {r, r + 1}, to + (part.data.begin + r) * sweep.size());
    }
  });
}

namespace {

// By forward tangents, where every op has one: two passes, whatever the number of outputs.
template <class T>
void gauss_newton_by_tangents(Sweep<T>& sweep, const BatchSource<T>& source, bool expected, const T* v, T* to,
                              const Poll& poll) {
  const int threads = threads_of(sweep, source.n, 2);
  const std::int64_t chunk = std::min(kChunk, source.n);
  Tangents<T> tangents(sweep);
  tangents.prepare(chunk, threads);
  std::vector<Buffer<T>> work = by_thread<T>(threads, curvature_work(sweep.config(), chunk));
  const auto& losses = sweep.config().losses;
  sweep.run(source, chunk, threads, poll, [&](const Part& part) {
    if (part.data.begin == 0) {
      if (part.team.rank == 0) tangents.set_direction(v);
      part.team.barrier();
    }
    sweep.forward(part);
    if (!expected) sweep.gather_targets(part, source.n);
    tangents.forward(part);
    sweep.renew(part);
    std::vector<T*> deltas;
    for (const BoundLoss<T>& loss : losses) deltas.push_back(sweep.gradient(loss.prediction));
    add_curvature(
        sweep, part, source.n, expected, [&](std::size_t k) { return tangents.value(losses[k].prediction); }, deltas,
        work[static_cast<std::size_t>(part.team.rank)].data());
    sweep.backward(part);
    part.team.barrier();
    sweep.accumulate_share(part, to, part.data.begin > 0);
  });
}

// By the rows of J, whatever the ops: a pass for each output.
template <class T>
void gauss_newton_by_rows(Sweep<T>& sweep, const BatchSource<T>& source, bool expected, const T* v, T* to,
                          const Poll& poll) {
  const int threads = threads_of(sweep, source.n, sweep.outputs());
  const std::int64_t chunk = sweep.together() ? 1 : std::min(kChunk, source.n);
  std::vector<Buffer<T>> u, rows = by_thread<T>(threads, sweep.size());
  for (std::size_t h = 0; h < sweep.heads(); ++h) u.emplace_back(chunk * sweep.head_size(h));
  std::vector<Buffer<T>> work = by_thread<T>(threads, curvature_work(sweep.config(), chunk));
  const auto& losses = sweep.config().losses;
  std::vector<std::size_t> head_of;
  for (const BoundLoss<T>& loss : losses) {
    std::size_t h = 0;
    while (sweep.head(h) != sweep.plan().root(loss.prediction)) ++h;
    head_of.push_back(h);
  }
  sweep.run(source, chunk, threads, poll, [&](const Part& part) {
    const auto rank = static_cast<std::size_t>(part.team.rank);
    sweep.forward(part);
    if (!expected) sweep.gather_targets(part, source.n);
    times_jacobian(sweep, part, v, rows[rank].data(), u);
    sweep.renew(part);
    std::vector<T*> deltas;
    for (const BoundLoss<T>& loss : losses) deltas.push_back(sweep.gradient(loss.prediction));
    add_curvature(
        sweep, part, source.n, expected, [&](std::size_t k) { return u[head_of[k]].data(); }, deltas,
        work[rank].data());
    sweep.backward(part);
    part.team.barrier();
    sweep.accumulate_share(part, to, part.data.begin > 0);
  });
}

}  // namespace

template <class T>
void gauss_newton_vector(const GraphPtr<T>& graph, const ConfigPtr<T>& config, const Offsets& offsets,
                         const BatchSource<T>& source, bool expected, const T* v, T* to, const Poll& poll) {
  expect_second_derivatives(*config, *graph);
  for (const BoundLoss<T>& loss : config->losses) {
    check(!expected || has_likelihood(loss),
          "the loss " + describe(loss) +
              " is no likelihood, so there is no Fisher matrix; use a cross entropy, a "
              "squared error, poisson or gaussian_nll, or gauss_newton_vector");
  }
  PlanOptions options;
  options.fuse = false;
  Sweep<T> plain(graph, config, predictions(*config), offsets, options);
  if (Tangents<T>::missing(plain.plan()).empty()) return gauss_newton_by_tangents(plain, source, expected, v, to, poll);
  Sweep<T> fused(graph, config, predictions(*config), offsets);
  gauss_newton_by_rows(fused, source, expected, v, to, poll);
}

template <class T>
void hessian_vector(const GraphPtr<T>& graph, const ConfigPtr<T>& config, const Offsets& offsets,
                    const BatchSource<T>& source, const T* v, T* to, const Poll& poll) {
  expect_second_derivatives(*config, *graph);
  PlanOptions options;
  options.fuse = false;
  Sweep<T> sweep(graph, config, predictions(*config), offsets, options);
  const std::string missing = Tangents<T>::missing(sweep.plan());
  check(missing.empty(), "layer '" + missing +
                             "' has no second derivative, so there is no exact product with the Hessian; use "
                             "gauss_newton_vector");
  const int threads = threads_of(sweep, source.n, 3);
  const std::int64_t chunk = std::min(kChunk, source.n);
  Tangents<T> tangents(sweep);
  tangents.prepare(chunk, threads);
  std::vector<Buffer<T>> work = by_thread<T>(threads, curvature_work(*config, chunk));
  sweep.run(source, chunk, threads, poll, [&](const Part& part) {
    if (part.data.begin == 0) {
      if (part.team.rank == 0) tangents.set_direction(v);
      part.team.barrier();
    }
    sweep.forward(part);
    tangents.forward(part);
    sweep.losses(part, source.n, true);
    std::vector<T*> deltas;
    for (std::size_t h = 0; h < sweep.heads(); ++h) tangents.clear(part, sweep.head(h));
    for (const BoundLoss<T>& loss : config->losses) deltas.push_back(tangents.gradient(loss.prediction));
    add_curvature(
        sweep, part, source.n, false, [&](std::size_t k) { return tangents.value(config->losses[k].prediction); },
        deltas, work[static_cast<std::size_t>(part.team.rank)].data());
    tangents.backward(part);
    part.team.barrier();
    tangents.accumulate_share(part, to, part.data.begin > 0);
  });
  for (std::size_t p = 0; p < config->penalties.size(); ++p) {
    if (offsets[p] < 0 || config->penalties[p].l2 == 0) continue;
    kernels<T>().axpy(static_cast<T>(2 * config->penalties[p].l2), v + offsets[p], to + offsets[p],
                      size_of(graph->params[p].shape));
  }
}

#define BP_INSTANTIATE_DERIVATIVES(T)                                                                                \
  template void jacobian(const GraphPtr<T>&, const Offsets&, const BatchSource<T>&, const std::vector<T*>&,          \
                         const Poll&);                                                                               \
  template void input_jacobian(const GraphPtr<T>&, const BatchSource<T>&, const std::vector<std::vector<T*>>&,       \
                               const Poll&);                                                                         \
  template void sample_gradients(const GraphPtr<T>&, const ConfigPtr<T>&, const Offsets&, const BatchSource<T>&, T*, \
                                 const Poll&);                                                                       \
  template void gauss_newton_vector(const GraphPtr<T>&, const ConfigPtr<T>&, const Offsets&, const BatchSource<T>&,  \
                                    bool, const T*, T*, const Poll&);                                                \
  template void hessian_vector(const GraphPtr<T>&, const ConfigPtr<T>&, const Offsets&, const BatchSource<T>&,       \
                               const T*, T*, const Poll&);
BP_INSTANTIATE_DERIVATIVES(float)
BP_INSTANTIATE_DERIVATIVES(double)

}  // namespace bp
