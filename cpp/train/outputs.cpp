#include "train/outputs.h"

#include <algorithm>

namespace bp {

template <class T> Outputs<T>::Outputs(Workspace<T>& work) : work_(work), outputs_(work.config->losses.size()) {
  std::vector<int> seen;
  for (std::size_t k = 0; k < outputs_.size(); ++k) {
    const int root = work_.plan->root(bound(k).prediction);
    outputs_[k].adds_delta = std::find(seen.begin(), seen.end(), root) != seen.end();
    seen.push_back(root);
  }
}

template <class T> void Outputs<T>::make_room(std::int64_t n) {
  for (std::size_t k = 0; k < outputs_.size(); ++k) {
    const BoundLoss<T>& loss = bound(k);
    const std::int64_t rows = checked_mul(n, loss.positions), size = checked_mul(rows, loss.width);
    Arrays& out = outputs_[k];
    out.target = Buffer<T>(checked_mul(rows, loss.target_width));
    out.label = Buffer<std::int32_t>(rows);
    out.weight = Buffer<T>(n);
    out.row_weight = Buffer<T>(rows);
    out.row_loss = Buffer<T>(rows);
    if (out.adds_delta) out.delta = Buffer<T>(size);
    const bool differs = loss.link != Link::kNone || loss.target_width != loss.width;
    if (work_.config->needs_values[k] && differs) out.values = Buffer<T>(out.target.size());
  }
}

template <class T> void Outputs<T>::prepare(const BatchSource<T>& source) {
  for (std::size_t k = 0; k < outputs_.size(); ++k) {
    outputs_[k].labelled = source.ys[k].label != nullptr;
    outputs_[k].weighted = source.weights[k].row_size() > 0;
  }
}

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
    } else {
      source.ys[k].dense.read(job.order, from, out.target.data() + rows.begin * loss.positions * loss.target_width);
    }
    if (source.weights[k].row_size() == 0) continue;
    source.weights[k].read(job.order, from, out.weight.data() + rows.begin);
    for (std::int64_t r = rows.begin; r < rows.end; ++r) {
      std::fill_n(out.row_weight.data() + r * loss.positions, loss.positions, out.weight[r]);
    }
  }
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
          out.weighted ? out.weight.data() : nullptr};
}

template <class T> void Outputs<T>::loss(std::size_t k, Rows rows, const BatchJob<T>& job) {
  const BoundLoss<T>& loss = bound(k);
  Arrays& out = outputs_[k];
  const std::int64_t offset = rows.begin * loss.positions, n = rows.count() * loss.positions;
  T* gradient = work_.frame->gradient(loss.prediction);
  T* delta = job.training && gradient != nullptr ? (out.adds_delta ? out.delta.data() : gradient) : nullptr;
  if (loss.config.callback != nullptr) {
    loss.config.callback->run(batch(k, rows.count()), out.row_loss.data(), delta);
    if (delta != nullptr && loss.config.weight != 1) {
      kernels<T>().scale(static_cast<T>(loss.config.weight), delta, n * loss.width);
    }
  } else {
    LossArgs<T> args{};
    args.rows = n;
    args.n = loss.width;
    args.targets = loss.target_width;
    args.prediction = work_.frame->value(loss.prediction) + offset * loss.width;
    args.target = out.labelled ? nullptr : out.target.data() + offset * loss.target_width;
    args.label = out.labelled ? out.label.data() + offset : nullptr;
    args.weight = out.weighted ? out.row_weight.data() + offset : nullptr;
    args.row_loss = out.row_loss.data() + offset;
    args.delta = delta == nullptr ? nullptr : delta + offset * loss.width;
    args.scale = static_cast<T>(loss.config.weight / static_cast<double>(job.rows.count() * loss.positions));
    args.options = loss.options.data();
    args.positive = loss.positive.empty() ? nullptr : loss.positive.data();
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
    case Link::kSoftmax:
      kernels<T>().softmax(z, y, count, loss.width);
      break;
    case Link::kLogSoftmax:
      kernels<T>().log_softmax(z, y, count, loss.width);
      break;
    default:
      kernels<T>().activate[static_cast<int>(Activation::kSigmoid)](z, y, count * loss.width, T(0));
  }
}

template class Outputs<float>;
template class Outputs<double>;

}  // namespace bp
