#include "ops/cell_tangents.h"

#include "ops/second_derivative.h"

namespace bp {

template <class T>
void add_product(Duals<T> a, Moving<T> m, std::int64_t n, std::int64_t width, Rows columns, Duals<T> out) {
  const Kernels<T>& k = kernels<T>();
  const std::int64_t count = columns.count();
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t begin = i * width + columns.begin;
    if (out.v != nullptr) k.axpy(a.v[i], m.w + begin, out.v + columns.begin, count);
    k.axpy(a.d[i], m.w + begin, out.d + columns.begin, count);
    if (m.direction != nullptr) k.axpy(a.v[i], m.direction + begin, out.d + columns.begin, count);
  }
}

template <class T>
void add_turned_product(Duals<T> a, Moving<T> m, std::int64_t n, std::int64_t width, Rows columns, Duals<T> out) {
  const Kernels<T>& k = kernels<T>();
  const std::int64_t count = columns.count();
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t begin = i * width + columns.begin;
    if (out.v != nullptr) out.v[i] += k.dot(a.v + columns.begin, m.w + begin, count);
    out.d[i] += k.dot(a.d + columns.begin, m.w + begin, count);
    if (m.direction != nullptr) out.d[i] += k.dot(a.v + columns.begin, m.direction + begin, count);
  }
}

template <class T> void CellTangents<T>::look(const Function& f, const T* kept, const Gates& to, std::int64_t n) const {
  const int number = static_cast<int>(f.f);
  if (activation_keeps_z(f.f)) {
    kernels<T>().activate[number](kept, to.a, n, f.alpha);
  } else {
    std::copy_n(kept, n, to.a);
  }
  std::fill_n(to.second, n, T(1));
  kernels<T>().activate_back[number](kept, to.second, to.first, n, f.alpha);
  second_derivative(f.f, kept, to.a, to.second, n, f.alpha);
}

namespace {

template <class T> class SimpleTangents final : public CellTangents<T> {
 public:
  using Function = typename CellTangents<T>::Function;
  SimpleTangents(std::int64_t units, Function f) : CellTangents<T>(units, 1), f_(f) {}

  void forward(const StepDuals<T>& s) const override {
    const std::int64_t n = this->units;
    add_product<T>(s.operand, s.r, n, n, {0, n}, {nullptr, s.gates.d});
    const auto a = this->open(s);
    this->look(f_, s.gates.v, a, n);
    for (std::int64_t j = 0; j < n; ++j) s.h.d[j] = a.value(j).d;
  }

  void backward(const StepDuals<T>& s) const override {
    const std::int64_t n = this->units;
    const auto a = this->open(s);
    this->look(f_, s.gates.v, a, n);
    for (std::int64_t j = 0; j < n; ++j) {
      const Dual<T> delta = s.h[j] * a.slope(j);
      s.delta.set(j, delta), s.of_r.set(j, delta), s.h.set(j, {});
    }
    add_turned_product<T>(s.of_r, s.r, n, n, {0, n}, s.p);
  }

 private:
  Function f_;
};

template <class T> class LstmTangents final : public CellTangents<T> {
 public:
  using Function = typename CellTangents<T>::Function;
  using Gates = typename CellTangents<T>::Gates;
  LstmTangents(std::int64_t units, Function f, Function s) : CellTangents<T>(units, 4), f_(f), s_(s) {}

  void forward(const StepDuals<T>& s) const override {
    const std::int64_t n = this->units;
    add_product<T>(s.operand, s.r, n, 4 * n, {0, 4 * n}, {nullptr, s.gates.d});
    const Gates gate = open_all(s), cell = new_cell(s, gate);
    for (std::int64_t j = 0; j < n; ++j) {
      s.h.d[j] = (gate.value(3 * n + j) * cell.value(j)).d;
      s.c.d[j] = cell.z[j];
    }
  }

  void backward(const StepDuals<T>& s) const override {
    const std::int64_t n = this->units;
    const Gates gate = open_all(s), cell = new_cell(s, gate);
    for (std::int64_t j = 0; j < n; ++j) {
      const Dual<T> i = gate.value(j), f = gate.value(n + j), g = gate.value(2 * n + j), o = gate.value(3 * n + j);
      const Dual<T> dc = s.c[j] + s.h[j] * o * cell.slope(j);
      s.delta.set(j, dc * g * gate.slope(j));
      s.delta.set(n + j, dc * s.c_before[j] * gate.slope(n + j));
      s.delta.set(2 * n + j, dc * i * gate.slope(2 * n + j));
      s.delta.set(3 * n + j, s.h[j] * cell.value(j) * gate.slope(3 * n + j));
      s.c.set(j, dc * f), s.h.set(j, {});
    }
    for (std::int64_t j = 0; j < 4 * n; ++j) s.of_r.set(j, s.delta[j]);
    add_turned_product<T>(s.of_r, s.r, n, 4 * n, {0, 4 * n}, s.p);
  }

 private:
  Gates open_all(const StepDuals<T>& s) const {
    const std::int64_t n = this->units;
    const Gates all = this->open(s);
    this->look(s_, s.gates.v, all, 2 * n);
    this->look(f_, s.gates.v + 2 * n, all.at(2 * n), n);
    this->look(s_, s.gates.v + 3 * n, all.at(3 * n), n);
    return all;
  }
  // c' and its function, of which z is the derivative of c'.
  Gates new_cell(const StepDuals<T>& s, const Gates& gate) const {
    const std::int64_t n = this->units;
    T* const free = s.scratch + 3 * this->width;
    const Duals<T> c{free, free + n};
    for (std::int64_t j = 0; j < n; ++j) {
      c.set(j, gate.value(n + j) * s.c_before[j] + gate.value(j) * gate.value(2 * n + j));
    }
    const Gates cell{free + 2 * n, free + 3 * n, free + 4 * n, c.d};
    T* const kept = free + 5 * n;
    if (activation_keeps_z(f_.f)) {
      std::copy_n(c.v, n, kept);
    } else {
      kernels<T>().activate[static_cast<int>(f_.f)](c.v, kept, n, f_.alpha);
    }
    this->look(f_, kept, cell, n);
    return cell;
  }
  Function f_, s_;
};

template <class T> class GruTangents final : public CellTangents<T> {
 public:
  using Function = typename CellTangents<T>::Function;
  using Gates = typename CellTangents<T>::Gates;
  GruTangents(std::int64_t units, Function f, Function s, bool reset_after)
      : CellTangents<T>(units, 3), f_(f), s_(s), reset_after_(reset_after) {}

  void forward(const StepDuals<T>& s) const override {
    const std::int64_t n = this->units;
    const Rows gates{0, 2 * n}, last{2 * n, 3 * n};
    add_product<T>(s.operand, s.r, n, 3 * n, gates, {nullptr, s.gates.d});
    if (reset_after_ && s.bias.direction != nullptr) kernels<T>().axpy(T(1), s.bias.direction, s.gates.d, 2 * n);
    const Gates gate = open_all(s);
    if (reset_after_) {  // aux: q = p R_a + b'
      std::fill_n(s.aux.d, n, T(0));
      if (s.bias.direction != nullptr) std::copy_n(s.bias.direction + 2 * n, n, s.aux.d);
      const Moving<T> r{s.r.w + 2 * n, s.r.direction == nullptr ? nullptr : s.r.direction + 2 * n};
      add_product<T>(s.operand, r, n, 3 * n, {0, n}, {nullptr, s.aux.d});
      for (std::int64_t j = 0; j < n; ++j) s.gates.d[2 * n + j] += (gate.value(n + j) * s.aux[j]).d;
    } else {  // aux: r p
      for (std::int64_t j = 0; j < n; ++j) s.aux.d[j] = (gate.value(n + j) * s.operand[j]).d;
      add_product<T>(s.aux, s.r, n, 3 * n, last, {nullptr, s.gates.d});
    }
    for (std::int64_t j = 0; j < n; ++j) {
      const Dual<T> z = gate.value(j), a = gate.value(2 * n + j);
      s.h.d[j] = (z * (s.h_before[j] - a) + a).d;
    }
  }

  void backward(const StepDuals<T>& s) const override {
    const std::int64_t n = this->units;
    const Rows last{2 * n, 3 * n};
    const Gates gate = open_all(s);
    T* const free = s.scratch + 3 * this->width;
    const Duals<T> reset{free, free + n};  // what reached r p
    for (std::int64_t j = 0; j < n; ++j) {
      const Dual<T> z = gate.value(j), a = gate.value(2 * n + j), dh = s.h[j];
      s.delta.set(j, dh * (s.h_before[j] - a) * gate.slope(j));
      s.delta.set(2 * n + j, (dh - dh * z) * gate.slope(2 * n + j));
      s.h.set(j, dh * z), reset.set(j, {});
    }
    if (!reset_after_) add_turned_product<T>(s.delta, s.r, n, 3 * n, last, reset);
    for (std::int64_t j = 0; j < n; ++j) {
      const Dual<T> r = gate.value(n + j), da = s.delta[2 * n + j];
      const Dual<T> dr = reset_after_ ? da * s.aux[j] : reset[j] * s.operand[j];
      s.delta.set(n + j, dr * gate.slope(n + j));
      s.of_r.set(j, s.delta[j]), s.of_r.set(n + j, s.delta[n + j]);
      s.of_r.set(2 * n + j, reset_after_ ? da * r : da);
      if (!reset_after_) s.p.set(j, s.p[j] + reset[j] * r);
    }
    add_turned_product<T>(s.of_r, s.r, n, 3 * n, {0, reset_after_ ? 3 * n : 2 * n}, s.p);
  }

 private:
  // The derivatives of the first two gates' z are complete, of the third when it is looked at.
  Gates open_all(const StepDuals<T>& s) const {
    const std::int64_t n = this->units;
    const Gates all = this->open(s);
    this->look(s_, s.gates.v, all, 2 * n);
    this->look(f_, s.gates.v + 2 * n, all.at(2 * n), n);
    return all;
  }
  Function f_, s_;
  bool reset_after_;
};

}  // namespace

template <class T> std::unique_ptr<CellTangents<T>> make_cell_tangents(const Node<T>& node, std::int64_t units) {
  const auto function = [&](const char* key, const char* number) {
    return typename SimpleTangents<T>::Function{function_of(node, key), static_cast<T>(node.number(number, 0))};
  };
  const auto f = function("activation", "alpha");
  if (node.op == "simple_rnn") return std::make_unique<SimpleTangents<T>>(units, f);
  const auto s = function("recurrent_activation", "recurrent_alpha");
  if (node.op == "lstm") return std::make_unique<LstmTangents<T>>(units, f, s);
  return std::make_unique<GruTangents<T>>(units, f, s, node.flag("reset_after"));
}

#define BP_INSTANTIATE_CELL_TANGENTS(T)                                                              \
  template void add_product(Duals<T>, Moving<T>, std::int64_t, std::int64_t, Rows, Duals<T>);        \
  template void add_turned_product(Duals<T>, Moving<T>, std::int64_t, std::int64_t, Rows, Duals<T>); \
  template class CellTangents<T>;                                                                    \
  template std::unique_ptr<CellTangents<T>> make_cell_tangents(const Node<T>&, std::int64_t);
BP_INSTANTIATE_CELL_TANGENTS(float)
BP_INSTANTIATE_CELL_TANGENTS(double)

}  // namespace bp
