#include "solve/kfac.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "solve/curvature.h"

namespace bp {
namespace {

constexpr std::int64_t kBand = 64;  // rows of a matrix that a thread takes at once
constexpr std::int64_t kEager = 3;  // batches after each of which the inverses are renewed

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

const Products<double>& products() { return kernels<double>().products[static_cast<int>(Compute::kFull)]; }

// C (m, n) = op(A) B, rows as wide as they are long.
Matmul<double> product(const double* a, const double* b, double* c, std::int64_t m, std::int64_t n, std::int64_t k) {
  Matmul<double> p{};
  p.m = m, p.n = n, p.k = k;
  p.a = a, p.lda = k;
  p.b = b, p.ldb = n;
  p.c = c, p.ldc = n;
  return p;
}

// Rows i.. of the upper triangle of X^T X, X (k, n).
Matmul<double> square_of(const double* x, double* c, std::int64_t n, std::int64_t k, Rows band) {
  Matmul<double> p{};
  p.m = band.count(), p.n = n - band.begin, p.k = k;
  p.a = p.b = x + band.begin;
  p.lda = p.ldb = p.ldc = n;
  p.a_transposed = true;
  p.c = c + band.begin * n + band.begin;
  return p;
}

PlanOptions options_of(Rescale rescale) {
  PlanOptions options;
  options.fuse = rescale == Rescale::kNone;  // derivatives along a direction are of single ops
  return options;
}

template <class T> std::vector<std::int64_t> places(const Graph<T>& graph) {
  std::vector<std::int64_t> offsets;
  std::int64_t next = 0;
  for (const ParameterView<T>& param : graph.params) {
    offsets.push_back(param.trainable ? next : -1);
    if (param.trainable) next += size_of(param.shape);
  }
  return offsets;
}

}  // namespace

template <class T>
Kfac<T>::Side::Side(std::int64_t size)
    : n(size), average(nullptr), inverse(nullptr), next(at(checked_mul(size, size))), next_inverse(next.size()),
      batch(size * size), cholesky(size) {}

template <class T>
Kfac<T>::Kfac(std::shared_ptr<const Graph<T>> graph, std::shared_ptr<const StepConfig<T>> config,
              const KfacOptions& options, std::shared_ptr<Factors> factors)
    : sweep_(graph, config, predictions(*config), places(*graph), options_of(options.rescale)), options_(options),
      factors_(std::move(factors)), direction_(sweep_.size()) {
  int other = -1;
  std::vector<DenseLayer> found = dense_layers(sweep_, &other);
  refuse(*config, other);
  sweep_.or_else(", or use an optimizer such as 'adam'");
  layers_.reserve(found.size());
  for (DenseLayer& layer : found) {
    const auto p = at(layer.param);
    const double l2 = config->penalties.empty() ? 0 : 2 * config->penalties[p].l2;
    layers_.emplace_back(std::move(layer), graph->params[p].name, l2);
  }
  failed_ = layers_.size();
  if (options.rescale != Rescale::kNone) {
    const std::string missing = Tangents<T>::missing(sweep_.plan());
    check(missing.empty(), "KFAC: rescale needs the derivative of the outputs along a step, and layer '" + missing +
                               "' has none; use rescale=None, or leave the layer out");
    exact_ = std::make_unique<ExactStep<T>>(sweep_, options.damping);
    proposal_ = Buffer<T>(sweep_.size(), kUnwritten);
    last_ = Buffer<T>(options.rescale == Rescale::kBoth ? sweep_.size() : 0);
    next_last_.resize(at(last_.size()));
  }
  std::int64_t bands = 0;
  for (const Layer& layer : layers_) bands += (layer.rows() + kBand - 1) / kBand;
  dots_ = Buffer<double>(bands);
}

template <class T> void Kfac<T>::refuse(const StepConfig<T>& config, int other) const {
  check(!config.losses.empty(),
        "KFAC learns the curvature from the batches of fit or train_on_batch, got gradients alone; use these, or "
        "another optimizer for a loop of your own");
  for (const BoundLoss<T>& loss : config.losses) {
    check(has_factor(loss), "KFAC: got the loss " + describe(loss) +
                                ", expected a sum of squares (mse, half_squared_error) or a cross entropy of logits, "
                                "softmax or sigmoid; use an optimizer such as 'adam' for other losses");
  }
  check(other < 0, "KFAC: got the trained weights '" + (other < 0 ? "" : sweep_.graph().params[at(other)].name) +
                       "', expected those of dense layers of inputs (N, I), each used once; freeze the layer "
                       "(trainable = False), or use an optimizer such as 'adam'");
  for (const Step<T>& step : sweep_.plan().steps()) {
    check(step.op->sizes().kept == 0 && step.partition != Partition::kWhole,
          "KFAC: got layer '" + step.name +
              "', expected layers whose samples do not depend on one another; leave it out, or use an optimizer such "
              "as 'adam'");
  }
}

// ---- memory ---------------------------------------------------------------------------------------------------------

template <class T> void Kfac<T>::make_room(std::int64_t samples, int threads) {
  std::int64_t scratch = 0, widest = 1;
  const auto want = [&](Matmul<double> p) {
    p.add = p.a_transposed;
    scratch = std::max(scratch, products().most_scratch(p));
  };
  samples_ = std::max(samples_, samples);
  for (Layer& layer : layers_) {
    for (Side* side : {&layer.input, &layer.delta}) {
      if (side->rows.size() < samples_ * side->n) side->rows = Buffer<double>(samples_ * side->n, kUnwritten);
      widest = std::max(widest, side->n);
      want(square_of(nullptr, nullptr, side->n, samples_, {0, std::min(kBand, side->n)}));
      want(product(nullptr, nullptr, nullptr, std::min(kBand, layer.rows()), layer.out, side->n));
    }
  }
  curvature_.resize(sweep_.config().losses.size());
  for (std::size_t k = 0; k < curvature_.size(); ++k) {
    const BoundLoss<T>& loss = sweep_.config().losses[k];
    const std::int64_t size = curvature_size(samples_ * loss.positions * loss.width);
    if (curvature_[k].size() < size) curvature_[k] = Buffer<T>(size, kUnwritten);
  }
  scratch_.resize(std::max(scratch_.size(), at(threads)));
  for (Scratch& own : scratch_) {
    if (own.matmul.size() < scratch) own.matmul = Buffer<double>(scratch, kUnwritten);
    if (own.matrix.size() < widest * widest) {
      own.matrix = Buffer<double>(widest * widest, kUnwritten);
      own.columns = Buffer<double>(widest * widest, kUnwritten);
    }
  }
}

// Those of another structure, as after layers were frozen, are of no use: all begins anew.
template <class T> void Kfac<T>::find_matrices() {
  auto& all = factors_->matrices;
  const auto each = [&](auto&& visit) {
    for (Layer& layer : layers_) {
      visit(layer.name + "/A", layer.input.n, &layer.input.average);
      visit(layer.name + "/S", layer.delta.n, &layer.delta.average);
      visit(layer.name + "/A-1", layer.input.n, &layer.input.inverse);
      visit(layer.name + "/S-1", layer.delta.n, &layer.delta.inverse);
    }
  };
  const bool steps_fit = factors_->last.size() == next_last_.size();
  bool same = all.size() == 4 * layers_.size();
  each([&](const std::string& name, std::int64_t n, std::vector<double>**) {
    const auto found = all.find(name);
    same = same && found != all.end() && found->second.size() == at(n * n);
  });
  if (!same) {
    all.clear();
    factors_->batches = 0;
  }
  if (!same || !steps_fit) factors_->last.assign(next_last_.size(), 0.0);
  each([&](const std::string& name, std::int64_t n, std::vector<double>** matrix) {
    *matrix = &all[name];
    (*matrix)->resize(at(n * n));
  });
}

template <class T> void Kfac<T>::begin(const BatchJob<T>& job, int threads) {
  const std::int64_t n = job.rows.count();
  sweep_.prepare(*job.source, n, threads, job.order);
  make_room(n, threads);
  find_matrices();
  seen_ = n;
  if (exact_ == nullptr) return;
  exact_->prepare(n, threads);
  for (std::int64_t i = 0; i < last_.size(); ++i) last_[i] = static_cast<T>(factors_->last[at(i)]);
}

// ---- failures -------------------------------------------------------------------------------------------------------

template <class T> void Kfac<T>::fail(std::size_t layer) {
  std::size_t first = failed_.load(std::memory_order_relaxed);
  while (layer < first && !failed_.compare_exchange_weak(first, layer, std::memory_order_relaxed)) {
  }
}

// What all members have found so far; true: nothing.
template <class T> bool Kfac<T>::settle(Team& team) {
  team.barrier();
  const std::size_t first = failed_.load(std::memory_order_relaxed);
  if (first == layers_.size()) return true;
  team.barrier();
  if (team.rank == 0) {
    flaw_ = sweep_.plan().steps()[layers_[first].step].name;
    failed_ = layers_.size();
  }
  team.barrier();
  return false;
}

// ---- the curvature of a batch ---------------------------------------------------------------------------------------

template <class T> template <class Do> void Kfac<T>::each_band(const Team& team, Side Layer::*side, Do&& work) {
  std::int64_t item = 0;
  for (Layer& layer : layers_) {
    const std::int64_t n = (layer.*side).n;
    for (Rows band{0, 0}; band.begin < n; band.begin = band.end, ++item) {
      band.end = std::min(band.begin + kBand, n);
      if (item % team.size == team.rank) work(layer, band, item);
    }
  }
}

template <class T> void Kfac<T>::square(const Team& team, Side Layer::*side, std::int64_t samples, bool add) {
  each_band(team, side, [&](Layer& layer, Rows band, std::int64_t) {
    Side& own = layer.*side;
    Matmul<double> p = square_of(own.rows.data(), own.batch.data(), own.n, samples, band);
    p.add = add;
    p.scratch = scratch_[at(team.rank)].matmul.data();
    products().run(p);
  });
}

template <class T> void Kfac<T>::measure(const Part& part) {
  sweep_.forward(part);
  sweep_.gather_targets(part, part.data.count());
  const auto& losses = sweep_.config().losses;
  for (std::size_t k = 0; k < losses.size() && part.mine.count() > 0; ++k) {
    const std::int64_t size = losses[k].positions * losses[k].width;
    const LossArgs<T> args = sweep_.loss_arguments(k, part.mine, part.data.count());
    measure_curvature(losses[k], args, true, curvature_[k].data() + curvature_size(part.mine.begin * size));
  }
  for (Layer& layer : layers_) {
    homogeneous_inputs(sweep_, layer, part.mine, layer.input.rows.data() + part.mine.begin * layer.input.n);
  }
}

// Back from the deltas of the predictions; of each layer S of this batch.
template <class T> void Kfac<T>::take_deltas(const Part& part, bool add) {
  sweep_.backward(part);
  for (Layer& layer : layers_) {
    const std::int64_t begin = part.mine.begin * layer.out;
    const T* const from = sweep_.io(layer.step).dy + begin;
    double* const to = layer.delta.rows.data() + begin;
    for (std::int64_t i = 0; i < part.mine.count() * layer.out; ++i) to[i] = static_cast<double>(from[i]);
  }
  part.team.barrier();
  square(part.team, &Layer::delta, part.data.count(), add);
  part.team.barrier();
}

template <class T> void Kfac<T>::draw_deltas(const Part& part, std::uint64_t draw) {
  const auto& losses = sweep_.config().losses;
  sweep_.renew(part);
  for (std::size_t k = 0; k < losses.size() && part.mine.count() > 0; ++k) {
    const std::int64_t size = losses[k].positions * losses[k].width, begin = part.mine.begin * size;
    T* const delta = sweep_.gradient(losses[k].prediction);
    if (delta == nullptr) continue;
    const LossArgs<T> args = sweep_.loss_arguments(k, part.mine, part.data.count());
    draw_of_curvature(losses[k], args, curvature_[k].data() + curvature_size(begin), {options_.seed + k, draw},
                      part.mine.begin * losses[k].positions, delta + begin);
  }
  take_deltas(part, false);
}

// A backward pass for each column of a factor of the loss's curvature.
template <class T> void Kfac<T>::expect_deltas(const Part& part) {
  const auto& losses = sweep_.config().losses;
  bool add = false;
  for (std::size_t k = 0; k < losses.size(); ++k) {
    const BoundLoss<T>& loss = losses[k];
    const std::int64_t size = loss.positions * loss.width, begin = part.mine.begin * size;
    T* const delta = sweep_.gradient(loss.prediction);
    for (std::int64_t column = 0; column < size; ++column, add = true) {
      sweep_.renew(part);
      if (delta != nullptr && part.mine.count() > 0) {
        const LossArgs<T> args = sweep_.loss_arguments(k, part.mine, part.data.count());
        factor_of_curvature(loss, args, curvature_[k].data() + curvature_size(begin), column % loss.width,
                            delta + begin);
        for (std::int64_t r = 0; r < part.mine.count() * loss.positions; ++r) {  // one position at a time
          if (r % loss.positions != column / loss.width) std::fill_n(delta + begin + r * loss.width, loss.width, T(0));
        }
      }
      take_deltas(part, add);
    }
  }
}

// What the averages become.
template <class T> void Kfac<T>::fold(const Team& team, double samples) {
  const auto k = static_cast<double>(factors_->batches + 1);
  const double keep = std::min(1 - 1 / k, options_.decay);
  for (Side Layer::*side : {&Layer::input, &Layer::delta}) {
    const double scale = (1 - keep) * (side == &Layer::input ? 1 / samples : 1);
    each_band(team, side, [&](Layer& layer, Rows band, std::int64_t) {
      Side& own = layer.*side;
      const double *batch = own.batch.data(), *before = own.average->data();
      for (std::int64_t i = band.begin; i < band.end; ++i) {
        for (std::int64_t j = i; j < own.n; ++j) {
          own.next[at(i * own.n + j)] = own.next[at(j * own.n + i)] =
              keep * before[i * own.n + j] + scale * batch[i * own.n + j];
        }
        if (!kernels<double>().all_finite(own.next.data() + i * own.n + i, own.n - i)) fail(at(&layer - &layers_[0]));
      }
    });
  }
}

template <class T> void Kfac<T>::look(Team& team, const BatchJob<T>& job) {
  if (job.rows.count() == 0) return;
  if (team.rank == 0) {
    flaw_.clear();
    looked_ = renewed_ = stepped_ = false;
    begin(job, team.size);
  }
  team.barrier();
  const Part part{team, job.rows, split(job.rows.count(), team.rank, team.size)};
  measure(part);
  if (options_.expected) {
    expect_deltas(part);
  } else {
    draw_deltas(part, job.draw);
  }
  square(team, &Layer::input, job.rows.count(), false);
  team.barrier();
  fold(team, static_cast<double>(job.rows.count()));
  if (!settle(team)) return;
  const std::int64_t k = factors_->batches + 1;
  const bool renews = k <= kEager || k % options_.refresh == 0;
  if (renews) invert(team);
  if (!settle(team)) return;
  if (team.rank == 0) looked_ = true, renewed_ = renews;
  team.barrier();
}

template <class T> void Kfac<T>::commit() {
  if (std::exchange(stepped_, false)) std::swap(factors_->last, next_last_);
  if (!looked_) return;
  for (Layer& layer : layers_) {
    for (Side* side : {&layer.input, &layer.delta}) {
      std::swap(*side->average, side->next);
      if (renewed_) std::swap(*side->inverse, side->next_inverse);
    }
  }
  ++factors_->batches;
  looked_ = renewed_ = false;
}

// ---- directions -----------------------------------------------------------------------------------------------------

template <class T> void Kfac<T>::invert(const Team& team) {
  std::int64_t item = 0;
  for (Layer& layer : layers_) {
    const auto mean_of = [](const Side& side) {
      double trace = 0;
      for (std::int64_t i = 0; i < side.n; ++i) trace += side.next[at(i * side.n + i)];
      return trace / static_cast<double>(side.n);
    };
    const double a = mean_of(layer.input), s = mean_of(layer.delta);
    const double pi = a > 0 && s > 0 ? std::sqrt(a / s) : 1, g = std::sqrt(options_.damping + layer.l2);
    Scratch& own = scratch_[at(team.rank)];
    if (item++ % team.size == team.rank) invert(layer, layer.input, pi * g, own);
    if (item++ % team.size == team.rank) invert(layer, layer.delta, g / pi, own);
  }
}

// A pivot that is no larger than its rounding error is 0.
template <class T> void Kfac<T>::invert(Layer& layer, Side& side, double damping, Scratch& scratch) {
  const std::int64_t n = side.n;
  double* const u = scratch.matrix.data();
  std::copy_n(side.next.data(), n * n, u);
  for (std::int64_t i = 0; i < n; ++i) u[i * n + i] += damping;
  bool sound = side.cholesky.factor(u, n);
  for (std::int64_t i = 0; i < n && sound; ++i) {
    const double whole = side.next[at(i * n + i)] + damping, pivot = u[i * n + i];
    sound = pivot * pivot > static_cast<double>(n) * std::numeric_limits<double>::epsilon() * whole;
  }
  if (!sound) return fail(at(&layer - &layers_[0]));
  side.cholesky.inverse(u, n, scratch.columns.data(), side.next_inverse.data());
  if (!kernels<double>().all_finite(side.next_inverse.data(), n * n)) fail(at(&layer - &layers_[0]));
}

template <class T> void Kfac<T>::run(Team& team, const BatchJob<T>& job) {
  if (samples_ == 0) return;  // it has seen no batch
  const auto inverse = [&](const Side& side) { return (renewed_ ? side.next_inverse : *side.inverse).data(); };
  const auto multiply = [&](const double* a, const double* b, double* c, std::int64_t n, std::int64_t k, Rows band) {
    Matmul<double> p = product(a + band.begin * k, b, c + band.begin * n, band.count(), n, k);
    p.scratch = scratch_[at(team.rank)].matmul.data();
    products().run(p);
  };
  each_band(team, &Layer::input, [&](Layer& layer, Rows band, std::int64_t) {
    for (std::int64_t i = band.begin; i < band.end; ++i) {
      const T* const from = direction_.data() + layer.offset[at(i)];
      for (std::int64_t k = 0; k < layer.out; ++k) layer.gradient[i * layer.out + k] = static_cast<double>(from[k]);
    }
    multiply(layer.gradient.data(), inverse(layer.delta), layer.half.data(), layer.out, layer.out, band);
  });
  team.barrier();
  each_band(team, &Layer::input, [&](Layer& layer, Rows band, std::int64_t item) {
    multiply(inverse(layer.input), layer.half.data(), layer.gradient.data(), layer.out, layer.rows(), band);
    double dot = 0;
    for (std::int64_t i = band.begin; i < band.end; ++i) {
      const T* const from = direction_.data() + layer.offset[at(i)];
      for (std::int64_t k = 0; k < layer.out; ++k) {
        dot += static_cast<double>(from[k]) * layer.gradient[i * layer.out + k];
      }
    }
    dots_[item] = dot;
  });
  team.barrier();
  const typename ExactStep<T>::Lengths found = find_lengths(team);
  const double rate = job.learning_rate, size = rate * rate * found.divergence;
  const double scale = size > options_.trust ? std::sqrt(options_.trust / size) : 1;
  const double along = scale * found.along, back = scale * found.last;
  each_band(team, &Layer::input, [&](Layer& layer, Rows band, std::int64_t) {
    for (std::int64_t i = band.begin; i < band.end; ++i) {
      const std::int64_t offset = layer.offset[at(i)];
      T* const to = direction_.data() + offset;
      for (std::int64_t k = 0; k < layer.out; ++k) {
        double step = along * layer.gradient[i * layer.out + k];
        if (last_.size() > 0) {
          step -= back * static_cast<double>(last_[offset + k]);
          next_last_[at(offset + k)] = -rate * step;
        }
        to[k] = static_cast<T>(step);
      }
    }
  });
  if (team.rank == 0) stepped_ = last_.size() > 0;
  team.barrier();
}

// Of the direction, in the layers' gradients.
template <class T> typename ExactStep<T>::Lengths Kfac<T>::find_lengths(Team& team) {
  if (exact_ == nullptr) {
    double dot = 0;
    for (std::int64_t i = 0; i < dots_.size(); ++i) dot += dots_[i];
    return {1, 0, dot / 2};
  }
  each_band(team, &Layer::input, [&](Layer& layer, Rows band, std::int64_t) {
    for (std::int64_t i = band.begin; i < band.end; ++i) {
      T* const to = proposal_.data() + layer.offset[at(i)];
      for (std::int64_t k = 0; k < layer.out; ++k) to[k] = static_cast<T>(layer.gradient[i * layer.out + k]);
    }
  });
  team.barrier();
  const Part part{team, {0, seen_}, split(seen_, team.rank, team.size)};
  return exact_->find(part, curvature_, direction_.data(), proposal_.data(), last_.size() > 0 ? last_.data() : nullptr);
}

template class Kfac<float>;
template class Kfac<double>;

}  // namespace bp
