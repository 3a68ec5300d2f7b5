#include "ops/recurrent_tangents.h"

#include "ops/cell_tangents.h"

namespace bp {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

template <class T> Moving<T> moving(const Io<T>& io, const Io<T>& t, std::size_t param) {
  return {io.w[param], t.w[param]};
}

}  // namespace

template <class T>
RecurrentTangents<T>::RecurrentTangents(const Node<T>& node, const RecurrentLayout& layout)
    : at_(layout), cell_(make_cell_tangents(node, layout.units)) {}

template <class T> RecurrentTangents<T>::~RecurrentTangents() = default;

template <class T> std::int64_t RecurrentTangents<T>::scratch() const {
  return cell_->scratch() + 6 * at_.units + 4 * at_.width;
}

template <class T> std::int64_t RecurrentTangents<T>::length(const Io<T>& io, std::int64_t row) const {
  std::int64_t steps = at_.steps;
  while (at_.masked && steps > 0 && io.x[1][row * at_.steps + steps - 1] == T(0)) --steps;
  return steps;
}

template <class T> bool RecurrentTangents<T>::counts(const Io<T>& io, std::int64_t row, std::int64_t step) const {
  return !at_.masked || io.x[1][row * at_.steps + step] != T(0);
}

template <class T> const T* RecurrentTangents<T>::drop(const Io<T>& io, std::int64_t row) const {
  const int input = at_.next_input + (at_.initial ? at_.cell_states : 0);
  return at_.dropped ? io.x[at(input)] + row * at_.units : nullptr;
}

// Where a step's arrays are in what is kept.
template <class T> static StepDuals<T> kept_duals(const RecurrentLayout& at, T* v, T* d) {
  StepDuals<T> s{};
  const auto part = [&](std::int64_t offset) { return Duals<T>{v + offset, d + offset}; };
  s.gates = part(0), s.operand = part(at.operand_at), s.h_before = part(at.h_at), s.c_before = part(at.c_at);
  s.aux = part(at.aux_at);
  return s;
}

template <class T> static Moving<T> recurrent_bias(const RecurrentLayout& at, const Io<T>& io, const Io<T>& t) {
  const bool two = at.bias && at.apart < at.width && !at.operand_apart;
  if (!two) return {nullptr, nullptr};
  return {io.w[2] + at.width, t.w[2] == nullptr ? nullptr : t.w[2] + at.width};
}

template <class T> void RecurrentTangents<T>::forward(const Io<T>& io, const Io<T>& t, Rows rows, T* scratch) const {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) forward_sample(io, t, row, scratch);
}

template <class T> void RecurrentTangents<T>::backward(const Io<T>& io, const Io<T>& t, Rows rows, T* scratch) const {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) backward_sample(io, t, row, scratch);
}

template <class T>
void RecurrentTangents<T>::forward_sample(const Io<T>& io, const Io<T>& t, std::int64_t row, T* scratch) const {
  const std::int64_t n = at_.units, end = length(io, row);
  T *const h = scratch, *const c = h + n, *const y = t.y + row * at_.row_size;
  const auto input = [&](int k) { return t.x[at(at_.next_input + k)] + row * n; };
  std::fill_n(h, 2 * n, T(0));  // states that are carried do not move
  for (int k = 0; at_.initial && k < at_.cell_states; ++k) std::copy_n(input(k), n, k == 0 ? h : c);
  if (at_.sequences) std::fill_n(y, at_.steps * n, T(0));
  for (std::int64_t i = 0; i < end; ++i) {
    const std::int64_t step = at_.backwards ? end - 1 - i : i;
    StepDuals<T> s = kept_duals(at_, kept(io, row, step), kept(t, row, step));
    std::copy_n(h, n, s.h_before.d);
    if (at_.cell_states > 1) std::copy_n(c, n, s.c_before.d);
    for (std::int64_t j = 0; j < n; ++j) s.operand.d[j] = at_.dropped ? h[j] * drop(io, row)[j] : h[j];
    std::fill_n(s.gates.d, at_.width, T(0));
    if (!counts(io, row, step)) {
      if (at_.apart < at_.width) std::fill_n(s.aux.d, n, T(0));
      continue;
    }
    if (at_.bias && t.w[2] != nullptr) std::copy_n(t.w[2], at_.width, s.gates.d);
    const std::int64_t x_at = (row * at_.steps + step) * at_.in;
    const Duals<T> x{const_cast<T*>(io.x[0]) + x_at, const_cast<T*>(t.x[0]) + x_at};
    add_product<T>(x, moving(io, t, 0), at_.in, at_.width, {0, at_.width}, {nullptr, s.gates.d});
    s.r = moving(io, t, 1), s.bias = recurrent_bias(at_, io, t);
    s.h = {nullptr, h}, s.c = {nullptr, c}, s.scratch = scratch + 2 * n;
    cell_->forward(s);
    if (at_.sequences) std::copy_n(h, n, y + step * n);
  }
  if (!at_.sequences) std::copy_n(h, n, y);
  for (int k = 0; at_.states && k < at_.cell_states; ++k) std::copy_n(k == 0 ? h : c, n, y + at_.y_size + k * n);
}

template <class T>
void RecurrentTangents<T>::backward_sample(const Io<T>& io, const Io<T>& t, std::int64_t row, T* scratch) const {
  const std::int64_t n = at_.units, width = at_.width, end = length(io, row);
  const auto duals = [&](std::int64_t size) {
    T* const v = scratch;
    scratch += 2 * size;
    std::fill_n(v, 2 * size, T(0));
    return Duals<T>{v, v + size};
  };
  const Duals<T> h = duals(n), c = duals(n), p = duals(n), delta = duals(width), of_r = duals(width);
  const Duals<T> dy{io.dy + row * at_.row_size, t.dy + row * at_.row_size};
  const auto add = [&](Duals<T> to, std::int64_t from) {
    for (std::int64_t j = 0; j < n; ++j) to.set(j, to[j] + dy[from + j]);
  };
  if (!at_.sequences) add(h, 0);
  if (at_.states) add(h, at_.y_size);
  if (at_.states && at_.cell_states > 1) add(c, at_.y_size + n);
  T* const dx = t.dx[0] == nullptr ? nullptr : t.dx[0] + row * at_.steps * at_.in;
  if (dx != nullptr && !t.add[0]) std::fill_n(dx, at_.steps * at_.in, T(0));
  for (std::int64_t i = 0; i < end; ++i) {
    const std::int64_t step = at_.backwards ? i : end - 1 - i;
    StepDuals<T> s = kept_duals(at_, kept(io, row, step), kept(t, row, step));
    if (!counts(io, row, step)) {
      std::fill_n(s.gates.d, width, T(0));
      continue;
    }
    if (at_.sequences) add(h, step * n);
    std::fill_n(p.v, n, T(0)), std::fill_n(p.d, n, T(0));
    s.r = moving(io, t, 1), s.h = h, s.c = c, s.p = p, s.delta = delta, s.of_r = of_r, s.scratch = scratch;
    cell_->backward(s);
    std::copy_n(delta.d, width, s.gates.d);
    if (at_.apart < width && !at_.operand_apart) std::copy_n(of_r.d + at_.apart, n, s.aux.d);
    for (std::int64_t j = 0; j < n; ++j) {
      const Dual<T> factor{at_.dropped ? drop(io, row)[j] : T(1), T(0)};
      h.set(j, h[j] + p[j] * factor);
    }
    if (dx != nullptr) {
      add_turned_product<T>(delta, moving(io, t, 0), at_.in, width, {0, width}, {nullptr, dx + step * at_.in});
    }
  }
  for (std::size_t k = 1; k < t.dx.size(); ++k) {
    if (t.dx[k] == nullptr) continue;
    const auto state = static_cast<int>(k) - at_.next_input;
    const bool is_state = at_.initial && state >= 0 && state < at_.cell_states;
    const std::int64_t size = at_.masked && k == 1 ? at_.steps : n;
    T* const to = t.dx[k] + row * size;
    if (!t.add[k]) std::fill_n(to, size, T(0));
    if (is_state) kernels<T>().axpy(T(1), (state == 0 ? h : c).d, to, n);
  }
}

// dW_t = sum of x_t^T delta + x^T delta_t, and so on: after backward the gates of io hold delta, those of t delta_t.
template <class T>
void RecurrentTangents<T>::accumulate(const Io<T>& io, const Io<T>& t, int param, Rows rows, T* g, bool add) const {
  const std::int64_t width = at_.width, cut = at_.apart, in = param == 0 ? at_.in : at_.units;
  const bool two = cut < width && !at_.operand_apart;  // deltas with R that are kept apart
  const std::int64_t size = param == 2 ? (two ? 2 : 1) * width : in * width;
  if (!add) std::fill_n(g, size, T(0));
  const auto sum = [&](T factor, const T* delta, std::int64_t n, T* to) { kernels<T>().axpy(factor, delta, to, n); };
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    for (std::int64_t step = 0, end = length(io, row); step < end; ++step) {
      const StepDuals<T> s = kept_duals(at_, kept(io, row, step), kept(t, row, step));
      const Duals<T> of_r = two ? s.aux : s.gates.at(cut);  // of the columns from the cut on
      if (param == 2) {
        sum(T(1), s.gates.d, width, g);
        if (two) sum(T(1), s.gates.d, cut, g + width), sum(T(1), of_r.d, width - cut, g + width + cut);
        continue;
      }
      const std::int64_t x_at = (row * at_.steps + step) * at_.in;
      for (std::int64_t i = 0; i < in; ++i) {
        T* const to = g + i * width;
        if (param == 0) {
          sum(t.x[0][x_at + i], s.gates.v, width, to), sum(io.x[0][x_at + i], s.gates.d, width, to);
          continue;
        }
        const Dual<T> first = s.operand[i], second = at_.operand_apart ? s.aux[i] : first;
        sum(first.d, s.gates.v, cut, to), sum(first.v, s.gates.d, cut, to);
        if (cut < width) sum(second.d, of_r.v, width - cut, to + cut), sum(second.v, of_r.d, width - cut, to + cut);
      }
    }
  }
}

template class RecurrentTangents<float>;
template class RecurrentTangents<double>;

}  // namespace bp
