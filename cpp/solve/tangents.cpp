#include "solve/tangents.h"

#include <algorithm>

namespace bp {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

Block all_columns(const Sizes& sizes, Rows rows) { return {rows, {0, sizes.features}}; }

}  // namespace

template <class T> std::string Tangents<T>::missing(const Plan<T>& plan) {
  for (const Step<T>& step : plan.steps()) {
    if (step.op->facts().differential == Differential::kNone && !step.inputs.empty()) return step.name;
  }
  return "";
}

template <class T> void Tangents<T>::prepare(std::int64_t capacity, int threads) {
  const Plan<T>& plan = sweep_.plan();
  std::int64_t largest = 1;
  for (std::size_t v = 0; v < plan.graph().nodes.size(); ++v) {
    largest = std::max(largest, checked_mul(capacity, plan.graph().size(static_cast<int>(v))));
  }
  for (const ParameterView<T>& view : plan.graph().params) largest = std::max(largest, size_of(view.shape));
  if (capacity > capacity_) {
    capacity_ = 0;
    frame_ = std::make_unique<Frame<T>>(sweep_.shared_plan(), capacity);
    zeros_ = Buffer<T>(largest);
    scratch_.clear();
    result_.clear();
    for (int input : plan.graph().inputs) {
      if (plan.computed(input)) std::fill_n(frame_->value(input), capacity * plan.graph().size(input), T(0));
    }
    capacity_ = capacity;
  }
  while (static_cast<int>(scratch_.size()) < threads) {
    scratch_.emplace_back(align_up<T>(sweep_.scratch_size(capacity)), kUnwritten);
    result_.emplace_back(largest, kUnwritten);
  }
}

template <class T> void Tangents<T>::set_direction(const T* v) {
  if (direction_.size() == 0) direction_ = Buffer<T>(sweep_.size());
  std::copy_n(v, sweep_.size(), direction_.data());
  for (std::size_t s = 0; s < sweep_.plan().steps().size(); ++s) {
    const auto& params = sweep_.plan().steps()[s].params;
    for (std::size_t i = 0; i < params.size(); ++i) {
      const std::int64_t offset = sweep_.offsets()[at(params[i])];
      io(s).w[i] = offset < 0 ? nullptr : direction_.data() + offset;
    }
  }
}

template <class T> bool Tangents<T>::moves(std::size_t s) const {
  const auto& params = sweep_.plan().steps()[s].params;
  return std::any_of(params.begin(), params.end(), [&](int p) { return sweep_.offsets()[at(p)] >= 0; });
}

template <class T> std::vector<const T*> Tangents<T>::weights(std::size_t s, bool direction) const {
  std::vector<const T*> w = sweep_.io(s).w;
  const auto& params = sweep_.plan().steps()[s].params;
  for (std::size_t i = 0; i < params.size(); ++i) {
    const std::int64_t offset = sweep_.offsets()[at(params[i])];
    if (offset >= 0) w[i] = direction ? direction_.data() + offset : zeros_.data();
  }
  return w;
}

template <class T> void Tangents<T>::affine_forward(std::size_t s, const Part& part, T* scratch) {
  const Step<T>& step = sweep_.plan().steps()[s];
  const Block block = all_columns(step.op->sizes(), part.mine);
  const std::int64_t width = size_of(step.op->sizes().shape), offset = part.mine.begin * width;
  T* const y = io(s).y;
  T* const part_of_y = result_[at(part.team.rank)].data();
  const auto run = [&](const std::vector<const T*>& x, const std::vector<const T*>& w, T* to) {
    Io<T> with = sweep_.io(s);
    with.x = x, with.w = w, with.y = to, with.saved = nullptr;
    step.op->forward(with, block, scratch);
  };
  const auto add = [&](T sign) { kernels<T>().axpy(sign, part_of_y + offset, y + offset, part.mine.count() * width); };
  const std::vector<const T*> none(step.inputs.size(), zeros_.data());
  run(io(s).x, sweep_.io(s).w, y);
  run(none, sweep_.io(s).w, part_of_y);
  add(T(-1));
  if (!moves(s)) return;
  run(sweep_.io(s).x, weights(s, true), part_of_y);
  add(T(1));
  run(sweep_.io(s).x, weights(s, false), part_of_y);
  add(T(-1));
}

template <class T> void Tangents<T>::forward(const Part& part) {
  if (part.mine.count() == 0) return;
  T* const scratch = scratch_[at(part.team.rank)].data();
  for (std::size_t s = 0; s < sweep_.plan().steps().size(); ++s) {
    const Step<T>& step = sweep_.plan().steps()[s];
    if (step.inputs.empty()) {  // a constant
      std::fill_n(io(s).y, capacity_ * size_of(step.op->sizes().shape), T(0));
    } else if (step.op->facts().differential == Differential::kOwn) {
      step.op->forward_tangent(sweep_.io(s), io(s), part.mine, scratch);
    } else {
      affine_forward(s, part, scratch);
    }
  }
}

template <class T> void Tangents<T>::affine_backward(std::size_t s, const Part& part, T* scratch) {
  const Step<T>& step = sweep_.plan().steps()[s];
  const Block block = all_columns(step.op->sizes(), part.mine);
  for (std::size_t i = 0; i < step.inputs.size(); ++i) {
    if (io(s).dx[i] == nullptr) continue;
    const std::int64_t width = sweep_.graph().size(step.inputs[i]), offset = part.mine.begin * width;
    T* const result = result_[at(part.team.rank)].data();
    bool add = io(s).add[i] != 0;
    const auto run = [&](T* dy, const std::vector<const T*>& w, T sign) {
      Io<T> with = sweep_.io(s);
      with.dy = dy, with.w = with.w_back = w;
      with.dx.assign(step.inputs.size(), nullptr);
      with.add.assign(step.inputs.size(), 0);
      with.dx[i] = result;
      step.op->backward(with, block, scratch);
      T* const to = io(s).dx[i] + offset;
      const std::int64_t n = part.mine.count() * width;
      if (!add) std::fill_n(to, n, T(0));
      kernels<T>().axpy(sign, result + offset, to, n);
      add = true;
    };
    run(io(s).dy, sweep_.io(s).w, T(1));
    if (!moves(s)) continue;
    run(sweep_.io(s).dy, weights(s, true), T(1));
    run(sweep_.io(s).dy, weights(s, false), T(-1));
  }
}

template <class T> void Tangents<T>::backward(const Part& part) {
  if (part.mine.count() == 0) return;
  T* const scratch = scratch_[at(part.team.rank)].data();
  for (std::size_t s = sweep_.plan().steps().size(); s-- > 0;) {
    const Step<T>& step = sweep_.plan().steps()[s];
    if (!step.backward) continue;
    if (step.op->facts().differential == Differential::kOwn) {
      step.op->backward_tangent(sweep_.io(s), io(s), part.mine, scratch);
    } else {
      affine_backward(s, part, scratch);
    }
    step.backward_rows(sweep_.io(s), part.mine, scratch);
  }
}

template <class T> void Tangents<T>::affine_accumulate(std::size_t s, int slot, const Part& part, T* g, T* scratch) {
  const Step<T>& step = sweep_.plan().steps()[s];
  const ParameterView<T>& view = sweep_.graph().params[at(step.params[at(slot)])];
  const Tile whole{{0, view.rows()}, {0, view.row_size()}};
  T* const result = result_[at(part.team.rank)].data();
  const auto run = [&](const std::vector<const T*>& x, T* dy, T sign) {
    Io<T> with = sweep_.io(s);
    with.x = x, with.dy = dy;
    step.op->accumulate(with, slot, whole, part.all(), result, false, scratch);
    kernels<T>().axpy(sign, result, g, whole.size());
  };
  run(sweep_.io(s).x, io(s).dy, T(1));
  run(io(s).x, sweep_.io(s).dy, T(1));
  run(std::vector<const T*>(step.inputs.size(), zeros_.data()), sweep_.io(s).dy, T(-1));
}

template <class T> void Tangents<T>::accumulate_share(const Part& part, T* g, bool add) {
  T* const scratch = scratch_[at(part.team.rank)].data();
  for (std::size_t p = part.team.rank; p < sweep_.offsets().size(); p += at(part.team.size)) {
    if (sweep_.offsets()[p] < 0) continue;
    T* const to = g + sweep_.offsets()[p];
    if (!add) std::fill_n(to, size_of(sweep_.graph().params[p].shape), T(0));
    for (const ParameterUse& use : sweep_.plan().uses(static_cast<int>(p))) {
      const auto s = at(use.step);
      const Op<T>& op = *sweep_.plan().steps()[s].op;
      if (op.facts().differential == Differential::kOwn) {
        op.accumulate_tangent(sweep_.io(s), io(s), use.slot, part.all(), to, true);
      } else {
        affine_accumulate(s, use.slot, part, to, scratch);
      }
    }
  }
}

template <class T> void Tangents<T>::clear(const Part& part, int head) {
  T* const delta = gradient(head);
  const std::int64_t width = sweep_.graph().size(head);
  if (delta != nullptr) std::fill_n(delta + part.mine.begin * width, part.mine.count() * width, T(0));
}

template class Tangents<float>;
template class Tangents<double>;

}  // namespace bp
