#include "plan/plan.h"

#include <algorithm>

#include "plan/teamwork.h"

namespace bp {
namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

}  // namespace

template <class T> std::int64_t Step<T>::columns(bool forward) const {
  const Product<T>* product = op->as_product();
  return product == nullptr ? op->sizes().features : forward ? product->out() : product->in();
}

template <class T> double Step<T>::operations() const {
  return kOperationsPerValue * static_cast<double>(size_of(op->sizes().shape)) + static_cast<double>(op->sizes().flops);
}

template <class T> void Step<T>::forward_columns(const Io<T>& io, const Block& block, T* scratch) const {
  const Product<T>* product = op->as_product();
  if (product == nullptr) return op->forward(io, block, scratch);
  product->forward(product->arrays(io), block.rows, block.columns, scratch);
}

template <class T> void Step<T>::prepare_backward(const Io<T>& io, Rows rows) const {
  const Product<T>* product = op->as_product();
  if (product != nullptr) product->find_delta(product->arrays(io), rows);
}

template <class T> void Step<T>::backward_columns(const Io<T>& io, const Block& block, T* scratch) const {
  const Product<T>* product = op->as_product();
  if (product == nullptr) return op->backward(io, block, scratch);
  product->backward(product->arrays(io), block.rows, block.columns, scratch);
}

// make(piece, operations). Of a product some rows and all columns, or some columns of a few rows; of an op by features,
// which needs all rows, some columns; of one that one thread runs all at once; of any other some rows.
template <class T>
template <class Make>
void Step<T>::each_piece(bool forward, bool training, const Block& block, Make make) const {
  constexpr std::int64_t kFewRows = 64, kLine = kAlignment / static_cast<std::int64_t>(sizeof(T));
  const Product<T>* product = op->as_product();
  const Partition needs = op->partition(training);  // in training with a plan of inference, too
  const bool features = needs == Partition::kFeatures;
  const std::int64_t rows = block.rows.count(), columns = block.columns.count();
  const double each =
      operations() / static_cast<double>(std::max<std::int64_t>(this->columns(forward), 1));  // of both 1
  const auto fits = [&](std::int64_t others, std::int64_t least, std::int64_t most) {
    const double count = most_of_a_piece<T>() / std::max(each * static_cast<double>(others), 1.0);
    return std::max(std::min(least, most), count < static_cast<double>(most) ? static_cast<std::int64_t>(count) : most);
  };
  const std::int64_t step = features ? kLine : kColumnStep;
  std::int64_t height = needs_all_rows(needs) ? rows : fits(std::max<std::int64_t>(columns, 1), kFewRows, rows);
  const std::int64_t width = product == nullptr && !features ? columns : fits(height, step, columns);
  if (!needs_all_rows(needs)) height = fits(std::max<std::int64_t>(width, 1), op->sizes().together, height);
  const int down = static_cast<int>((rows + height - 1) / std::max<std::int64_t>(height, 1));
  const int across = std::max(1, static_cast<int>((columns + width - 1) / std::max<std::int64_t>(width, 1)));
  for (int i = 0; i < down; ++i) {
    const Rows part = split(rows, i, down);
    for (int j = 0; j < across; ++j) {
      const Rows some = split_at(step, columns, j, across);
      if (some.count() == 0 && columns > 0) continue;
      make(Block{{block.rows.begin + part.begin, block.rows.begin + part.end},
                 {block.columns.begin + some.begin, block.columns.begin + some.end}},
           each * static_cast<double>(part.count() * std::max<std::int64_t>(some.count(), 1)));
    }
  }
}

template <class T> void Step<T>::forward_in_pieces(const Io<T>& io, const Block& block, T* scratch, Team& team) const {
  each_piece(true, io.training, block, [&](const Block& piece, double operations) {
    forward_columns(io, piece, scratch);
    team.look(operations);
  });
}

template <class T> void Step<T>::backward_in_pieces(const Io<T>& io, const Block& block, T* scratch, Team& team) const {
  each_piece(false, io.training, block, [&](const Block& piece, double operations) {
    backward_columns(io, piece, scratch);
    team.look(operations);
  });
}

template <class T>
Plan<T>::Plan(std::shared_ptr<const Graph<T>> graph, std::vector<int> targets, std::vector<int> losses,
              PlanOptions options)
    : graph_(std::move(graph)), options_(options), uses_(graph_->params.size()) {
  const std::size_t n = graph_->nodes.size();
  root_.resize(n);
  consumers_.assign(n, 0);
  last_use_.assign(n, -1);
  gradient_.assign(n, 0);
  computed_.assign(n, 0);
  is_target_.assign(n, 0);
  resolve_aliases();
  for (int target : targets) is_target_[at(root(target))] = 1;
  add_steps(targets);
  find_gradients(losses);
  count_operations();
}

template <class T> void Plan<T>::count_operations() {
  double most = 0;  // of what a call does with a sample
  std::int64_t least_rows = 1;
  for (int input : graph_->inputs) {
    if (!computed(input)) continue;
    most = std::max(most, kOperationsPerValue * static_cast<double>(graph_->size(input)));
    operations_ += kOperationsPerValue * static_cast<double>(graph_->size(input));
  }
  for (const Step<T>& step : steps_) {
    const bool is_cut = step.op->as_product() != nullptr;  // by columns, too: the loss takes its values at once
    most = std::max(most, step.operations() - (is_cut ? static_cast<double>(step.op->sizes().flops) : 0));
    operations_ += step.operations();
    least_rows = std::max(least_rows, step.op->sizes().together);
  }
  std::int64_t values = 0;  // of a sample that has positions, each of which is a row of a product
  for (const Step<T>& step : steps_) {
    const Shape& shape = step.op->sizes().shape;
    if (shape.size() > 1 && step.op->as_product() == nullptr) values = std::max(values, size_of(shape));
  }
  block_rows_ = kRowBlock;
  while (block_rows_ > least_rows && block_rows_ * values > kBlockValues) block_rows_ /= 2;
  while (block_rows_ > least_rows && static_cast<double>(block_rows_) * most > most_of_a_piece<T>()) block_rows_ /= 2;
}

template <class T> bool Plan<T>::is_long(double samples) const {
  constexpr double kLong = 1e8;  // operations: 2 to 20 ms of one core
  return operations_ * samples > kLong * patience();
}

template <class T> void Plan<T>::resolve_aliases() {
  for (std::size_t i = 0; i < graph_->nodes.size(); ++i) {
    const int node = static_cast<int>(i);
    root_[i] = graph_->has_role(node, Role::kAlias) ? root(graph_->nodes[i].inputs[0]) : node;
  }
}

template <class T> void Plan<T>::add_steps(const std::vector<int>& targets) {
  const auto& nodes = graph_->nodes;
  std::vector<char> needed(nodes.size(), 0);
  for (int target : targets) needed[at(target)] = 1;
  for (std::size_t i = nodes.size(); i-- > 0;) {
    if (!needed[i]) continue;
    for (int input : nodes[i].inputs) {
      needed[at(input)] = 1;
      if (!graph_->has_role(static_cast<int>(i), Role::kAlias)) ++consumers_[at(root(input))];
    }
  }
  std::vector<int> maker(nodes.size(), -1);  // by node: the step that computes it
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const int node = static_cast<int>(i);
    if (!needed[i] || graph_->has_role(node, Role::kAlias)) continue;
    computed_[i] = 1;
    if (graph_->has_role(node, Role::kInput) || graph_->has_role(node, Role::kTarget)) continue;
    Step<T> step;
    step.op = graph_->make(node);
    if (const int before = step_before(node, maker); before >= 0 && fuse(steps_[at(before)], node, *step.op)) {
      maker[i] = before;
      continue;
    }
    maker[i] = static_cast<int>(steps_.size());
    step.partition = step.op->partition(options_.training);
    const Product<T>* product = step.op->as_product();
    if (product != nullptr && product->by_columns()) step.partition = Partition::kColumns;
    for (int input : nodes[i].inputs) step.inputs.push_back(root(input));
    step.output = node;
    step.params = nodes[i].params;
    step.name = nodes[i].name;
    whole_batch_ |= needs_all_rows(step.partition);
    flops_ += step.op->sizes().flops;
    if (step.partition == Partition::kColumns) column_flops_ += step.op->sizes().flops;
    steps_.push_back(std::move(step));
  }
  for (std::size_t s = 0; s < steps_.size(); ++s) {
    for (int input : steps_[s].inputs) last_use_[at(input)] = static_cast<int>(s);
  }
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (is_target_[i]) last_use_[i] = static_cast<int>(steps_.size());
  }
}

// The fusions, one after the other: the op that makes a value takes over the only op that uses it.
// step_before: the number of the step whose value nobody else uses, or -1.
template <class T> int Plan<T>::step_before(int node, const std::vector<int>& maker) const {
  const NodeSpec<T>& spec = graph_->nodes[at(node)];
  if (!options_.fuse || spec.inputs.size() != 1) return -1;
  const int input = spec.inputs[0];  // not through an alias: someone may hold the reshaped value
  const bool shared = consumers_[at(root(input))] != 1 || is_target_[at(root(input))];
  return shared || input != root(input) ? -1 : maker[at(input)];
}

template <class T> bool Plan<T>::fuse(Step<T>& before, int node, const Op<T>& op) {
  if (!before.op->fuse(op)) return false;
  computed_[at(before.output)] = 0;
  before.output = node;
  const bool pointwise = op.facts().pointwise != Activation::kCount;
  fusions_.push_back(before.name + " + " +
                     (pointwise ? activation_name(op.facts().pointwise) : graph_->nodes[at(node)].name));
  return true;
}

template <class T> void Plan<T>::find_gradients(const std::vector<int>& losses) {
  // Forward: what depends on something to be trained. Backward: what reaches a loss. Gradients flow where both hold.
  std::vector<char> depends(graph_->nodes.size(), 0), reaches(graph_->nodes.size(), 0);
  std::vector<char> trained(graph_->nodes.size(), 0);  // depends on a parameter, and not on inputs alone
  if (options_.wrt_inputs) {
    for (int input : graph_->inputs) depends[at(input)] = 1;
  }
  for (const Step<T>& step : steps_) {
    bool any = false;
    for (int param : step.params) any |= graph_->params[at(param)].trainable;
    trained[at(step.output)] = any;
    for (int input : step.inputs) {
      any |= depends[at(input)] != 0;
      trained[at(step.output)] |= trained[at(input)];
    }
    depends[at(step.output)] = any && !step.op->facts().stops;
    trained[at(step.output)] &= depends[at(step.output)];
  }
  for (int loss : losses) reaches[at(root(loss))] = 1;
  starts_ = reaches;
  std::vector<char> written = reaches;  // a loss writes its delta first; the reverse order below finds who adds
  for (std::size_t s = steps_.size(); s-- > 0;) {
    Step<T>& step = steps_[s];
    step.backward = reaches[at(step.output)] && depends[at(step.output)];
    step.backward_for_inputs = step.backward && !trained[at(step.output)];
    for (int input : step.inputs) {
      if (reaches[at(step.output)] && !step.op->facts().stops) reaches[at(input)] = 1;
      const bool wants = step.backward && depends[at(input)];
      step.wants_dx.push_back(wants);
      step.adds_dx.push_back(wants && written[at(input)]);
      step.for_inputs.push_back(wants && !trained[at(input)]);
      if (wants) written[at(input)] = 1;
    }
    if (!step.backward) continue;
    for (std::size_t slot = 0; slot < step.params.size(); ++slot) {
      const int param = step.params[slot];
      if (graph_->params[at(param)].trainable)
        uses_[at(param)].push_back({static_cast<int>(s), static_cast<int>(slot)});
    }
  }
  for (std::size_t i = 0; i < gradient_.size(); ++i) gradient_[i] = depends[i] && reaches[i];
}

template <class T> std::int64_t Plan<T>::scratch_size(std::int64_t rows, std::int64_t batch) const {
  std::int64_t most = 0;
  for (const Step<T>& step : steps_) {
    const bool whole = needs_all_rows(step.partition) || (options_.training && by_columns(step.partition));
    most = std::max(most, step.op->scratch(whole ? batch : std::min(rows, batch)));
  }
  return most;
}

// Who makes the gradient of the step's value, and so on up to the losses; not through an op that makes it of values.
template <class T> std::string Plan<T>::waits_for(int step) const {
  std::vector<char> wanted(graph_->nodes.size(), 0);
  wanted[at(steps_[at(step)].output)] = 1;
  std::string names;
  bool loss = starts_[at(steps_[at(step)].output)] != 0;
  for (std::size_t s = at(step) + 1; s < steps_.size(); ++s) {
    const Step<T>& other = steps_[s];
    bool makes = false;
    for (std::size_t i = 0; i < other.inputs.size(); ++i) {
      if (!other.wants_dx[i] || !wanted[at(other.inputs[i])]) continue;
      if (i == 0 && other.op->facts().unlocks) continue;
      makes = true;
    }
    if (!makes) continue;
    wanted[at(other.output)] = 1;
    loss |= starts_[at(other.output)] != 0;
    if (names.find(other.name) == std::string::npos) names += (names.empty() ? "" : ", ") + other.name;
  }
  if (names.empty()) return loss ? "the loss" : "nothing behind it";
  return names + (loss ? ", the loss" : "");
}

template <class T> std::string Plan<T>::describe() const {
  std::string text;
  for (const Step<T>& step : steps_) {
    text += "  " + step.name + " " + to_string(step.op->sizes().shape) + ": ";
    constexpr const char* kWords[] = {"by blocks of samples", "by columns where there are several threads",
                                      "all samples, by columns", "whole batch on one thread"};
    text += kWords[static_cast<int>(step.partition)];
    if (const Compute compute = step.op->facts().compute; compute != Compute::kFull) {
      text += std::string(", products in bfloat16 by ") + compute_name(compute);
    }
    if (options_.training && !step.backward) text += ", no gradient";
    bool trained = false;
    for (int param : step.params) trained |= graph_->params[at(param)].trainable;
    if (step.backward && trained) {
      text += "; updated after backward of " + waits_for(static_cast<int>(&step - steps_.data()));
    }
    text += "\n";
  }
  for (const std::string& fusion : fusions_) text += "  fused: " + fusion + "\n";
  return text;
}

template struct Step<float>;
template struct Step<double>;
template class Plan<float>;
template class Plan<double>;

}  // namespace bp
