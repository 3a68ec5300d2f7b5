#include "plan/rehearsal.h"

#include <algorithm>
#include <stdexcept>

namespace bp {
namespace {

constexpr unsigned char kGuard = 0xa5;  // a byte of a guard; four of them are no number that an op is likely to write
constexpr std::int64_t kGuardSize = 64;

template <class T> bool is_guard(const T* memory, std::int64_t n) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(memory);
  return std::all_of(bytes, bytes + n * static_cast<std::int64_t>(sizeof(T)),
                     [](unsigned char b) { return b == kGuard; });
}

}  // namespace

// ---- guarded memory -------------------------------------------------------------------------------------------------

template <class T>
Guarded<T>::Guarded(std::int64_t n, const Terms& terms)
    : memory_(kGuardSize + terms.shift + n + kGuardSize), begin_(kGuardSize + terms.shift), size_(n),
      pattern_(terms.pattern) {
  std::memset(static_cast<void*>(memory_.data()), kGuard, static_cast<std::size_t>(memory_.size()) * sizeof(T));
  fill();
}

template <class T> void Guarded<T>::fill() {
  std::vector<std::uint16_t> two_bytes(sizeof(T) / 2, pattern_);
  for (std::int64_t i = 0; i < size_; ++i) std::memcpy(static_cast<void*>(data() + i), two_bytes.data(), sizeof(T));
}

template <class T> void Guarded<T>::expect_whole(const std::string& what) const {
  const T* end = memory_.data() + begin_ + size_;
  if (!is_guard(memory_.data(), begin_)) throw std::logic_error(what + ": something was written before its beginning");
  if (!is_guard(end, kGuardSize)) throw std::logic_error(what + ": something was written past its end");
}

// ---- the run --------------------------------------------------------------------------------------------------------

template <class T>
Rehearsal<T>::Rehearsal(const std::shared_ptr<const Graph<T>>& graph, const std::vector<const T*>& xs,
                        const std::vector<const T*>& dys, const std::vector<const T*>& w_back, std::int64_t n,
                        const Terms& terms)
    : graph_(*graph), n_(n), terms_(terms), plan_(graph, graph->outputs, graph->outputs, PlanOptions{true, true, true}),
      io_(plan_.steps().size()) {
  allocate(xs, dys, w_back);
  for (std::size_t s = 0; s < io_.size(); ++s) forward(s);
  for (std::size_t k = 0; k < dys.size(); ++k) {
    const int output = plan_.root(graph_.outputs[k]);
    T* dy = gradients_[at(output)];
    if (dy == nullptr) continue;
    const bool adds = terms_.add && graph_.has_role(output, Role::kInput);  // an output that is an input, reshaped
    for (std::int64_t i = 0; i < n_ * graph_.size(output); ++i) dy[i] = adds ? dy[i] + dys[k][i] : dys[k][i];
  }
  for (std::size_t s = io_.size(); s-- > 0;) backward(s);
  for (std::size_t p = 0; p < graph_.params.size(); ++p) accumulate(static_cast<int>(p));
  for (std::size_t s = 0; s < io_.size(); ++s) {
    const Step<T>& step = plan_.steps()[s];
    if (step.op->sizes().kept == 0) continue;
    std::vector<T*> w;
    for (int p : step.params) w.push_back(parameter(p));
    step.op->commit(io_[s], n_, w);
    expect_whole(step.name + ": commit");
  }
  for (std::size_t k = 0; k < xs.size(); ++k) {
    const int input = graph_.inputs[k];
    if (!plan_.computed(input) || std::equal(xs[k], xs[k] + n_ * graph_.size(input), value(input))) continue;
    throw std::logic_error("input " + std::to_string(k) + " was written to");
  }
}

template <class T> T* Rehearsal<T>::make(std::int64_t n, const std::string& name) {
  arrays_.emplace_back(name, Guarded<T>(n, terms_));
  return arrays_.back().second.data();
}

template <class T>
void Rehearsal<T>::allocate(const std::vector<const T*>& xs, const std::vector<const T*>& dys,
                            const std::vector<const T*>& w_back) {
  check(xs.size() == graph_.inputs.size() && dys.size() == graph_.outputs.size(), "an array for each input and output");
  check(w_back.empty() || w_back.size() == graph_.params.size(), "an array for each parameter");
  values_.assign(graph_.nodes.size(), nullptr);
  gradients_.assign(graph_.nodes.size(), nullptr);
  for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
    const int v = static_cast<int>(i);
    if (plan_.root(v) != v || !plan_.computed(v)) continue;
    values_[i] = make(n_ * graph_.size(v), "y of " + graph_.nodes[i].name);
    if (plan_.has_gradient(v)) gradients_[i] = make(n_ * graph_.size(v), "the gradient of " + graph_.nodes[i].name);
  }
  for (std::size_t k = 0; k < xs.size(); ++k) {
    const int input = graph_.inputs[k];
    if (!plan_.computed(input)) continue;
    std::copy_n(xs[k], n_ * graph_.size(input), values_[at(input)]);
    if (terms_.add && gradients_[at(input)] != nullptr)
      std::fill_n(gradients_[at(input)], n_ * graph_.size(input), T(1));
  }
  for (const ParameterView<T>& view : graph_.params) {
    const std::int64_t size = size_of(view.shape);
    parameters_.emplace_back(size, terms_);
    std::copy_n(view.value, size, parameters_.back().data());
    parameter_gradients_.emplace_back(size, terms_);
  }
  for (std::size_t s = 0; s < io_.size(); ++s) {
    const Step<T>& step = plan_.steps()[s];
    const Sizes& sizes = step.op->sizes();
    Io<T>& io = io_[s];
    io.training = true;
    io.add = step.adds_dx;
    for (std::size_t i = 0; i < step.inputs.size(); ++i) {
      const int x = step.inputs[i];
      io.x.push_back(values_[at(x)]);
      io.dx.push_back(step.wants_dx[i] ? gradients_[at(x)] : nullptr);
      if (terms_.add && graph_.has_role(x, Role::kInput)) io.add[i] = 1;
    }
    io.y = values_[at(step.output)];
    io.dy = gradients_[at(step.output)];
    if (sizes.saved > 0) io.saved = make(n_ * sizes.saved, "what " + step.name + " saves");
    if (sizes.kept > 0) io.kept = make(sizes.kept, "what " + step.name + " keeps");
    for (int p : step.params) {
      io.w.push_back(parameter(p));
      io.w_back.push_back(w_back.empty() ? parameter(p) : w_back[at(p)]);
    }
  }
}

template <class T> void Rehearsal<T>::expect_whole(const std::string& who) const {
  for (const auto& [name, array] : arrays_) array.expect_whole(who + ": " + name);
  for (std::size_t p = 0; p < parameters_.size(); ++p) parameters_[p].expect_whole(who + ": " + graph_.params[p].name);
}

template <class T> template <class Call> void Rehearsal<T>::each_piece(std::int64_t n, std::int64_t step, Call call) {
  if (step <= 0) step = std::max<std::int64_t>(n, 1);
  for (std::int64_t begin = (std::max<std::int64_t>(n, 1) - 1) / step * step; begin >= 0; begin -= step) {
    call(Rows{begin, std::min(begin + step, n)});
  }
}

// The blocks of a step, each with scratch of its own, and whether the columns are in pieces.
template <class T> template <class Call> void Rehearsal<T>::each_block(const Step<T>& step, bool forward, Call call) {
  const bool divides = by_columns(step.partition) || (terms_.piece > 0 && step.op->as_product() != nullptr);
  each_piece(n_, needs_all_rows(step.partition) || divides ? 0 : terms_.block, [&](Rows rows) {
    const std::int64_t columns = divides ? step.columns(forward) : 0;
    each_piece(columns, terms_.piece, [&](Rows part) {
      Guarded<T> scratch(step.op->scratch(rows.count()), terms_.of_scratch());
      call(Block{rows, part}, divides, scratch.data());
      const std::string who = step.name + (forward ? ": forward" : ": backward");
      scratch.expect_whole(who + ": scratch");
      expect_whole(who);
    });
  });
}

template <class T> void Rehearsal<T>::forward(std::size_t s) {
  const Step<T>& step = plan_.steps()[s];
  each_block(step, true, [&](const Block& block, bool divides, T* scratch) {
    if (divides) return step.forward_columns(io_[s], block, scratch);
    step.forward_rows(io_[s], block.rows, scratch);
  });
}

template <class T> void Rehearsal<T>::backward(std::size_t s) {
  const Step<T>& step = plan_.steps()[s];
  if (!step.backward) return;
  if (by_columns(step.partition) || (terms_.piece > 0 && step.op->as_product() != nullptr)) {
    step.prepare_backward(io_[s], {0, n_});
  }
  each_block(step, false, [&](const Block& block, bool divides, T* scratch) {
    if (divides) return step.backward_columns(io_[s], block, scratch);
    step.backward_rows(io_[s], block.rows, scratch);
  });
}

template <class T> void Rehearsal<T>::accumulate(int param) {
  const ParameterView<T>& view = graph_.params[at(param)];
  T* whole = gradient_of_parameter(param);
  each_piece(view.rows(), terms_.piece, [&](Rows rows) {
    each_piece(view.row_size(), terms_.piece, [&](Rows columns) { accumulate(param, Tile{rows, columns}, whole); });
  });
  parameter_gradients_[at(param)].expect_whole(view.name + ": its gradient");
}

template <class T> void Rehearsal<T>::accumulate(int param, const Tile& tile, T* whole) {
  Guarded<T> g(tile.size(), terms_);
  if (terms_.add) std::fill_n(g.data(), tile.size(), T(1));
  bool add = terms_.add;
  for (const ParameterUse& use : plan_.uses(param)) {
    const Step<T>& step = plan_.steps()[at(use.step)];
    each_piece(n_, terms_.add && !needs_all_rows(step.partition) ? terms_.block : 0, [&](Rows rows) {
      Guarded<T> scratch(step.op->accumulate_scratch(use.slot, tile, rows.count()), terms_.of_scratch());
      step.op->accumulate(io_[at(use.step)], use.slot, tile, rows, g.data(), add, scratch.data());
      const std::string who = step.name + ": accumulate";
      scratch.expect_whole(who + ": scratch");
      g.expect_whole(who + ": the gradient of a tile");
      expect_whole(who);
      add = true;
    });
  }
  if (!add) std::fill_n(g.data(), tile.size(), T(0));
  const std::int64_t width = graph_.params[at(param)].row_size();
  for (std::int64_t row = 0; row < tile.rows.count(); ++row) {
    std::copy_n(g.data() + row * tile.columns.count(), tile.columns.count(),
                whole + (tile.rows.begin + row) * width + tile.columns.begin);
  }
}

template class Rehearsal<float>;
template class Rehearsal<double>;

}  // namespace bp
