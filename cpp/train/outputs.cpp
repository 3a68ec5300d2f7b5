#include "train/outputs.h"

#include <algorithm>
#include <limits>
#include <sstream>

namespace bp {

namespace {

constexpr char kBatchMemory[] = "targets and losses of a batch; a smaller batch_size takes less";

}  // namespace

template <class T> Outputs<T>::Outputs(Workspace<T>& work) : work_(work), outputs_(work.config->losses.size()) {
  std::vector<int> seen;
  for (std::size_t k = 0; k < outputs_.size(); ++k) {
    const int root = work_.plan->root(bound(k).prediction);
    outputs_[k].adds_delta = std::find(seen.begin(), seen.end(), root) != seen.end();
    seen.push_back(root);
  }
  for (const ValueLoss& objective : work_.config->objectives) {
    check(std::find(seen.begin(), seen.end(), work_.plan->root(objective.value)) == seen.end(),
          "an objective is what a loss reads, or another objective");
    seen.push_back(work_.plan->root(objective.value));
  }
  for (std::size_t i = 0; i < work_.graph->nodes.size(); ++i) {
    const int value = static_cast<int>(i), output = work_.graph->facts[i].output;
    if (!work_.graph->has_role(value, Role::kTarget) || !work_.plan->computed(value)) continue;
    check(output >= 0 && static_cast<std::size_t>(output) < outputs_.size(), "a target of no output");
    const BoundLoss<T>& loss = bound(static_cast<std::size_t>(output));
    check(loss.target_width == loss.width && work_.graph->size(value) == loss.positions * loss.width,
          "a target of another size than its output");
    shown_.push_back(value);
  }
}

template <class T> void Outputs<T>::make_room(std::int64_t n) {
  for (std::size_t k = 0; k < outputs_.size(); ++k) {
    const BoundLoss<T>& loss = bound(k);
    const std::int64_t rows = checked_mul(n, loss.positions), size = checked_mul(rows, loss.width);
    Arrays& out = outputs_[k];
    out.target = Buffer<T>(checked_mul(rows, loss.target_width), kBatchMemory);
    out.label = Buffer<std::int32_t>(rows, kBatchMemory);
    out.row_loss = Buffer<T>(rows, kBatchMemory);
    if (out.adds_delta) out.delta = Buffer<T>(size, kBatchMemory);
    if (loss.config.whole != nullptr) loss.config.whole->make_room(n, std::max(loss.width, loss.target_width));
    const bool differs = loss.link != Link::kNone || loss.target_width != loss.width;
    if (work_.config->needs_values[k] && differs) out.values = Buffer<T>(out.target.size(), kBatchMemory);
  }
}

template <class T> void Outputs<T>::prepare(const BatchSource<T>& source) {
  for (std::size_t k = 0; k < outputs_.size(); ++k) {
    Arrays& out = outputs_[k];
    const BoundLoss<T>& loss = bound(k);
    out.labelled = source.ys[k].label != nullptr;
    const auto make_room = [](Buffer<T>& buffer, std::int64_t size) {
      if (buffer.size() < size) buffer = Buffer<T>(size, kBatchMemory);
    };
    out.masked = source.valid[k].count != nullptr;
    if (out.masked) make_room(out.valid, checked_mul(work_.capacity, loss.config.steps));
    out.weights = source.weights[k].row_size();
    if (out.weights == 0) continue;
    out.weight_axes = source.weights[k].rank() - 1;
    out.weigh_terms = loss.positions % out.weights != 0;
    const std::int64_t of_loss = loss.positions * (out.weigh_terms ? loss.target_width : 1);
    make_room(out.weight, checked_mul(work_.capacity, out.weights));
    make_room(out.loss_weight, checked_mul(work_.capacity, of_loss));
  }
}

// Targets and weights are read in place, batch by batch. What was in order when the caller looked at it may have been
// changed since, by another thread or by a callback, and a label is a place in memory: so each batch looks at its own
// copy.
template <class T> void Outputs<T>::gather(Rows rows, const BatchJob<T>& job) {
  const BatchSource<T>& source = *job.source;
  const Rows from{job.rows.begin + rows.begin, job.rows.begin + rows.end};
  for (std::size_t k = 0; k < outputs_.size(); ++k) {
    Arrays& out = outputs_[k];
    const BoundLoss<T>& loss = bound(k);
    if (const std::int32_t* label = source.ys[k].label; label != nullptr) {
      for (std::int64_t r = rows.begin; r < rows.end; ++r) {
        const std::int64_t row = job.rows.begin + r;
        std::copy_n(label + (job.order == nullptr ? row : job.order[row]) * loss.positions, loss.positions,
                    out.label.data() + r * loss.positions);
      }
      if (loss.config.whole == nullptr || loss.config.whole->classes() > 0) check_labels(k, rows, job);
    } else {
      source.ys[k].dense.read(job.order, from, out.target.data() + rows.begin * loss.positions * loss.target_width);
      if (loss.bounded()) check_target(k, rows, job);
    }
    if (out.masked) source.valid[k].mask.read(job.order, from, out.valid.data() + rows.begin * loss.config.steps);
    if (out.weights == 0) continue;
    source.weights[k].read(job.order, from, out.weight.data() + rows.begin * out.weights);
    check_weight(k, rows, job);
    const std::int64_t each = loss.positions * (out.weigh_terms ? loss.target_width : 1) / out.weights;
    for (std::int64_t i = rows.begin * out.weights; i < rows.end * out.weights; ++i) {
      std::fill_n(out.loss_weight.data() + i * each, each, out.weight[i]);
    }
  }
  show_targets(rows);
}

// As values of the graph; of a label 1 at its place.
template <class T> void Outputs<T>::show_targets(Rows rows) {
  for (int value : shown_) {
    const auto k = static_cast<std::size_t>(work_.graph->facts[static_cast<std::size_t>(value)].output);
    const BoundLoss<T>& loss = bound(k);
    const std::int64_t begin = rows.begin * loss.positions, count = rows.count() * loss.positions;
    T* to = work_.frame->value(value) + begin * loss.width;
    if (!outputs_[k].labelled) {
      std::copy_n(outputs_[k].target.data() + begin * loss.width, count * loss.width, to);
      continue;
    }
    std::fill_n(to, count * loss.width, T(0));
    for (std::int64_t i = 0; i < count; ++i) to[i * loss.width + outputs_[k].label[begin + i]] = T(1);
  }
}

template <class T> void Outputs<T>::objective(std::size_t k, Rows rows, const BatchJob<T>& job) {
  const ValueLoss& objective = work_.config->objectives[k];
  const std::int64_t size = work_.graph->size(objective.value), begin = rows.begin * size, n = rows.count() * size;
  if (!kernels<T>().all_finite(work_.frame->value(objective.value) + begin, n)) work_.flaw();
  T* gradient = work_.frame->gradient(objective.value);
  if (!job.training || gradient == nullptr) return;
  std::fill_n(gradient + begin, n, static_cast<T>(objective.weight / static_cast<double>(job.rows.count())));
}

namespace {

[[noreturn]] void refuse(const std::string& layer, const std::string& found, std::int64_t row,
                         const std::string& expected) {
  throw BadInput(
      "output '" + layer + "': got " + found + " at row " + std::to_string(row) + ", expected " + expected +
      "; it was in order when the call began: arrays are read in place, so give copies of what another thread or "
      "a callback writes to");
}

template <class T> std::string number(T value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

}  // namespace

template <class T> void Outputs<T>::check_labels(std::size_t k, Rows rows, const BatchJob<T>& job) const {
  const BoundLoss<T>& loss = bound(k);
  const std::int32_t* const label = outputs_[k].label.data();
  const std::int64_t begin = rows.begin * loss.positions, end = rows.end * loss.positions;
  const std::int64_t classes = loss.target_width;
  std::uint32_t most = 0;  // a negative one is above all others
  for (std::int64_t i = begin; i < end; ++i) most = std::max(most, static_cast<std::uint32_t>(label[i]));
  if (begin == end || most < static_cast<std::uint64_t>(classes)) return;
  std::int64_t i = begin;
  while (label[i] >= 0 && label[i] < classes) ++i;
  refuse(work_.graph->nodes[static_cast<std::size_t>(loss.output)].name, "label " + std::to_string(label[i]),
         job.sample(i / loss.positions), "0 to " + std::to_string(classes - 1));
}

template <class T> void Outputs<T>::check_target(std::size_t k, Rows rows, const BatchJob<T>& job) const {
  const BoundLoss<T>& loss = bound(k);
  const T* const target = outputs_[k].target.data();
  const T low = loss.low, high = loss.high;
  const std::int64_t size = loss.positions * loss.target_width, begin = rows.begin * size, end = rows.end * size;
  const auto outside = [=](T t) {
    return (t < low) | (t > high);
  };  // NaN is not: the loss becomes NaN, and is reported
  bool any = false;
  for (std::int64_t i = begin; i < end; ++i) any |= outside(target[i]);
  if (!any) return;
  const std::int64_t i = std::find_if(target + begin, target + end, outside) - target;
  refuse(work_.graph->nodes[static_cast<std::size_t>(loss.output)].name, "target " + number(target[i]),
         job.sample(i / size), number(low) + " to " + number(high));
}

template <class T> void Outputs<T>::check_weight(std::size_t k, Rows rows, const BatchJob<T>& job) const {
  const T* const weight = outputs_[k].weight.data();
  const auto sound = [](T w) { return (w >= 0) & (w <= std::numeric_limits<T>::max()); };
  const std::int64_t size = outputs_[k].weights, begin = rows.begin * size, end = rows.end * size;
  bool all = true;
  for (std::int64_t i = begin; i < end; ++i) all &= sound(weight[i]);
  if (all) return;
  const std::int64_t i = std::find_if_not(weight + begin, weight + end, sound) - weight;
  refuse(work_.graph->nodes[static_cast<std::size_t>(bound(k).output)].name, "sample weight " + number(weight[i]),
         job.sample(i / size), "a finite number >= 0");
}

template <class T> OutputBatch<T> Outputs<T>::batch(std::size_t k, std::int64_t n) const {
  const BoundLoss<T>& loss = bound(k);
  const Arrays& out = outputs_[k];
  const T* value = work_.frame->value(loss.prediction);
  const T* point = out.values.size() > 0 ? out.values.data() : value;
  const T* prediction = loss.link != Link::kNone ? point : value;
  return {n,
          loss.positions,
          loss.width,
          loss.target_width,
          value,
          prediction,
          point,
          out.labelled ? nullptr : out.target.data(),
          out.labelled ? out.label.data() : nullptr,
          out.weights > 0 ? out.weight.data() : nullptr,
          std::max<std::int64_t>(out.weights, 1),
          out.weight_axes,
          out.masked ? out.valid.data() : nullptr,
          loss.config.steps};
}

// Of some samples, without a delta; the loss is no callback.
template <class T> LossArgs<T> Outputs<T>::arguments(std::size_t k, Rows rows, const BatchJob<T>& job) {
  const BoundLoss<T>& loss = bound(k);
  Arrays& out = outputs_[k];
  const std::int64_t offset = rows.begin * loss.positions;
  LossArgs<T> args{};
  args.rows = rows.count() * loss.positions;
  args.n = loss.width;
  args.targets = loss.target_width;
  args.prediction = work_.frame->value(loss.prediction) + offset * loss.width;
  args.target = out.labelled ? nullptr : out.target.data() + offset * loss.target_width;
  args.label = out.labelled ? out.label.data() + offset : nullptr;
  args.weight = out.weights > 0 ? out.loss_weight.data() + offset * (out.weigh_terms ? loss.target_width : 1) : nullptr;
  args.weigh_terms = out.weights > 0 && out.weigh_terms;
  args.row_loss = out.row_loss.data() + offset;
  const double terms = loss.config.sum ? 1 / loss.values_of_row() : job.divisor(k, loss.positions);
  args.scale = static_cast<T>(loss.config.weight / terms);
  args.options = loss.options.data();
  args.positive = loss.positive.empty() ? nullptr : loss.positive.data();
  return args;
}

template <class T> void Outputs<T>::loss(std::size_t k, Rows rows, const BatchJob<T>& job, Team& team) {
  const BoundLoss<T>& loss = bound(k);
  Arrays& out = outputs_[k];
  const std::int64_t offset = rows.begin * loss.positions, n = rows.count() * loss.positions;
  T* gradient = work_.frame->gradient(loss.prediction);
  T* delta = job.training && gradient != nullptr ? (out.adds_delta ? out.delta.data() : gradient) : nullptr;
  if (loss.config.whole != nullptr) {
    loss.config.whole->run(
        batch(k, rows.count()), [&team](double operations) { team.look(operations); }, out.row_loss.data(), delta);
    const double weight = loss.config.weight * (loss.config.sum ? 1 : job.share(k));
    if (delta != nullptr && weight != 1) kernels<T>().scale(static_cast<T>(weight), delta, n * loss.width);
  } else {
    LossArgs<T> args = arguments(k, rows, job);
    args.delta = delta == nullptr ? nullptr : delta + offset * loss.width;
    kernels<T>().loss[static_cast<int>(loss.config.kind)](args);
  }
  if (delta != nullptr && out.adds_delta) {
    kernels<T>().axpy(T(1), delta + offset * loss.width, gradient + offset * loss.width, n * loss.width);
  }
  if (!kernels<T>().all_finite(out.row_loss.data() + offset, n)) work_.flaw();
  if (out.values.size() > 0) link_values(k, rows);
}

// What predict() would return, or of it the block to compare with the target, for the metrics that need it.
template <class T> void Outputs<T>::link_values(std::size_t k, Rows rows) {
  const BoundLoss<T>& loss = bound(k);
  const std::int64_t offset = rows.begin * loss.positions * loss.width, count = rows.count() * loss.positions;
  const T* z = work_.frame->value(loss.prediction) + offset;
  T* y = outputs_[k].values.data() + rows.begin * loss.positions * loss.target_width;
  if (loss.target_width != loss.width) {
    z += loss.config.point * loss.target_width;
    for (std::int64_t r = 0; r < count; ++r, z += loss.width, y += loss.target_width) {
      std::copy_n(z, loss.target_width, y);
    }
    return;
  }
  switch (loss.link) {
    case Link::kSoftmax: kernels<T>().softmax(z, y, count, loss.width); break;
    case Link::kLogSoftmax: kernels<T>().log_softmax(z, y, count, loss.width); break;
    default: kernels<T>().activate[static_cast<int>(Activation::kSigmoid)](z, y, count * loss.width, T(0));
  }
}

template class Outputs<float>;
template class Outputs<double>;

}  // namespace bp
