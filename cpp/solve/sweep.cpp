#include "solve/sweep.h"

#include <algorithm>

namespace bp {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

template <class T>
std::shared_ptr<const Plan<T>> keeping_plan(std::shared_ptr<const Graph<T>> graph, const StepConfig<T>& config,
                                            const std::vector<int>& heads, PlanOptions options) {
  std::vector<int> targets = predictions(config);
  targets.insert(targets.end(), heads.begin(), heads.end());
  options.training = true;
  return std::make_shared<Plan<T>>(std::move(graph), targets, heads, options);
}

}  // namespace

template <class T>
Sweep<T>::Sweep(std::shared_ptr<const Graph<T>> graph, std::shared_ptr<const StepConfig<T>> config,
                std::vector<int> heads, std::vector<std::int64_t> offsets, PlanOptions options)
    : work_{graph, config, keeping_plan<T>(graph, *config, heads, options), nullptr, 0, {}, false}, losses_(work_),
      offsets_(std::move(offsets)) {
  check(offsets_.size() == graph->params.size(), "offsets: one for each parameter");
  for (std::size_t p = 0; p < offsets_.size(); ++p) {
    if (offsets_[p] >= 0) size_ = std::max(size_, offsets_[p] + size_of(graph->params[p].shape));
  }
  for (int head : heads) {
    const int root = plan().root(head);
    if (std::find(heads_.begin(), heads_.end(), root) != heads_.end()) continue;
    heads_.push_back(root);
    outputs_ += graph->size(root);
  }
  for (std::size_t s = 0; s < plan().steps().size(); ++s) {
    const Step<T>& step = plan().steps()[s];
    together_ |= step.partition == Partition::kWhole;
    if (step.backward && step.op->sizes().saved > 0) spending_.push_back(s);
  }
  for (const BoundLoss<T>& loss : config->losses) together_ |= loss.config.whole != nullptr;
}

template <class T> void Sweep<T>::read_weights(T* w) const {
  for (std::size_t p = 0; p < offsets_.size(); ++p) {
    const ParameterView<T>& view = graph().params[p];
    if (offsets_[p] >= 0) std::copy_n(view.value, size_of(view.shape), w + offsets_[p]);
  }
}

template <class T> void Sweep<T>::write_weights(const T* w) {
  for (std::size_t p = 0; p < offsets_.size(); ++p) {
    const ParameterView<T>& view = graph().params[p];
    if (offsets_[p] >= 0) std::copy_n(w + offsets_[p], size_of(view.shape), view.value);
  }
  graph().note_change();
}

template <class T>
void Sweep<T>::prepare(const BatchSource<T>& source, std::int64_t chunk, int threads, const std::int64_t* order) {
  source_ = &source;
  order_ = order;
  for (std::size_t k = 0; k < source.valid.size(); ++k) {
    check(source.valid[k].count == nullptr,
          "output '" + graph().nodes[at(config().losses[k].output)].name +
              "': got sequences of unlike length, or a mask, expected that all steps count, as rows are added up "
              "whole; give sequences of one length without a mask" +
              or_else_);
  }
  if (chunk > work_.capacity) {
    work_.capacity = 0;  // until all is there: without memory for the rest the next call begins anew
    work_.scratch.clear();
    saved_.clear();
    work_.frame = std::make_unique<Frame<T>>(work_.plan, chunk);
    losses_.make_room(chunk);
    for (std::size_t s : spending_)
      saved_.emplace_back(checked_mul(chunk, plan().steps()[s].op->sizes().saved), kUnwritten);
    work_.capacity = chunk;
  }
  while (static_cast<int>(work_.scratch.size()) < threads) {
    work_.scratch.emplace_back(align_up<T>(scratch_size(work_.capacity)), kUnwritten);
  }
  losses_.prepare(source);
  work_.frame->set_training(false);
  work_.flawed.store(false, std::memory_order_relaxed);
}

template <class T> std::int64_t Sweep<T>::scratch_size(std::int64_t samples) const {
  std::int64_t size = plan().scratch_size(samples, samples);
  for (std::size_t p = 0; p < offsets_.size(); ++p) {
    const ParameterView<T>& view = graph().params[p];
    const Tile whole{{0, view.rows()}, {0, view.row_size()}};
    for (const ParameterUse& use : plan().uses(static_cast<int>(p))) {
      size = std::max(size, plan().steps()[at(use.step)].op->accumulate_scratch(use.slot, whole, samples));
    }
  }
  return size;
}

// Whose count is that of the samples over which losses are averaged.
template <class T> BatchJob<T> Sweep<T>::job(const Part& part, std::int64_t n) const {
  BatchJob<T> job{};
  job.source = source_;
  job.order = order_;
  job.rows = {part.data.begin, part.data.begin + n};
  return job;
}

template <class T> void Sweep<T>::forward(const Part& part) {
  if (part.mine.count() == 0) return;
  work_.gather(part.mine, job(part, part.data.count()));
  for (std::size_t s = 0; s < plan().steps().size(); ++s) work_.frame->forward(s, part.mine, scratch(part));
  for (std::size_t i = 0; i < spending_.size(); ++i) {
    const std::int64_t width = plan().steps()[spending_[i]].op->sizes().saved;
    std::copy_n(io(spending_[i]).saved + part.mine.begin * width, part.mine.count() * width,
                saved_[i].data() + part.mine.begin * width);
  }
}

template <class T> void Sweep<T>::losses(const Part& part, std::int64_t n, bool deltas) {
  if (part.mine.count() == 0) return;
  BatchJob<T> job = this->job(part, n);
  job.training = deltas;
  losses_.gather(part.mine, job);
  for (std::size_t k = 0; k < losses_.count(); ++k) losses_.loss(k, part.mine, job, part.team);
}

template <class T> void Sweep<T>::gather_targets(const Part& part, std::int64_t n) {
  if (part.mine.count() > 0) losses_.gather(part.mine, job(part, n));
}

template <class T> void Sweep<T>::renew(const Part& part) {
  for (std::size_t i = 0; i < spending_.size(); ++i) {
    const std::int64_t width = plan().steps()[spending_[i]].op->sizes().saved;
    std::copy_n(saved_[i].data() + part.mine.begin * width, part.mine.count() * width,
                io(spending_[i]).saved + part.mine.begin * width);
  }
  for (int head : heads_) {
    T* const delta = gradient(head);
    const std::int64_t width = graph().size(head);
    if (delta != nullptr) std::fill_n(delta + part.mine.begin * width, part.mine.count() * width, T(0));
  }
}

template <class T> void Sweep<T>::backward(const Part& part) {
  if (part.mine.count() == 0) return;
  for (std::size_t s = plan().steps().size(); s-- > 0;) {
    if (plan().steps()[s].backward) work_.frame->backward(s, part.mine, scratch(part));
  }
}

template <class T>
void Sweep<T>::accumulate(const Part& part, std::size_t param, Rows of_param, Rows rows, T* g, bool add) {
  const std::int64_t width = graph().params[param].row_size();
  T* const to = g + offsets_[param] + of_param.begin * width;
  if (of_param.count() == 0) return;
  for (const ParameterUse& use : plan().uses(static_cast<int>(param))) {
    const Tile tile{of_param, {0, width}};
    plan().steps()[at(use.step)].op->accumulate(io(at(use.step)), use.slot, tile, rows, to, add, scratch(part));
    add = true;
  }
  if (!add) std::fill_n(to, of_param.count() * width, T(0));  // no head depends on it
}

template <class T> void Sweep<T>::accumulate(const Part& part, Rows rows, T* g) {
  for (std::size_t p = 0; p < offsets_.size(); ++p) {
    if (offsets_[p] >= 0) accumulate(part, p, {0, graph().params[p].rows()}, rows, g, false);
  }
}

template <class T> void Sweep<T>::accumulate_share(const Part& part, T* g, bool add) {
  for (std::size_t p = 0; p < offsets_.size(); ++p) {
    if (offsets_[p] < 0) continue;
    const Rows share = split(graph().params[p].rows(), part.team.rank, part.team.size);
    accumulate(part, p, share, part.all(), g, add);
  }
}

template <class T> double Sweep<T>::add_losses(Rows rows, double total) const {
  for (std::int64_t r = rows.begin; r < rows.end; ++r) {
    double of_row = 0;
    for (std::size_t k = 0; k < config().losses.size(); ++k) {
      const BoundLoss<T>& loss = config().losses[k];
      const T* const from = losses_.row_loss(k) + r * loss.positions;
      double sum = 0;
      for (std::int64_t i = 0; i < loss.positions; ++i) sum += static_cast<double>(from[i]);
      of_row += loss.config.weight * (loss.positions > 1 ? sum / static_cast<double>(loss.positions) : sum);
    }
    total += of_row;
  }
  return total;
}

template <class T> LossArgs<T> Sweep<T>::loss_arguments(std::size_t k, Rows rows, std::int64_t n) {
  BatchJob<T> job{};
  job.source = source_;
  job.rows = {0, n};
  return losses_.arguments(k, rows, job);
}

template class Sweep<float>;
template class Sweep<double>;

}  // namespace bp
