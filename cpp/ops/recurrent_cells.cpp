#include "ops/recurrent_cells.h"

#include "ops/rounding.h"

namespace bp {

template <class T> std::int64_t Cell<T>::most_product(std::int64_t m) const {
  Matmul<T> p{};
  p.m = m, p.n = width(), p.k = units, p.lda = width(), p.ldb = width(), p.ldc = width();
  Matmul<T> back = p;
  back.n = units, back.k = width();
  return std::max(products_.most_scratch(p), products_.most_scratch(back));
}

template <class T>
void Cell<T>::forward_product(const CellStep<T>& s, const T* a, std::int64_t lda, Rows columns, T* z, bool goes_on,
                              T* scratch) const {
  Matmul<T> p{};
  p.m = s.m, p.n = columns.count(), p.k = units;
  p.a = a, p.lda = lda;
  p.b = s.r + columns.begin, p.ldb = width();
  p.c = z + columns.begin, p.ldc = width();
  p.goes_on = goes_on;
  if (!goes_on && s.bias != nullptr) p.bias = s.bias + columns.begin;
  p.scratch = scratch;
  products_.run(p);
}

template <class T>
void Cell<T>::backward_product(const CellStep<T>& s, Rows columns, T* dp, bool goes_on, T* scratch) const {
  Matmul<T> p{};
  p.m = s.m, p.n = units, p.k = columns.count();
  p.a = s.z + columns.begin, p.lda = width();
  p.b = s.r_turned + columns.begin * units, p.ldb = units;
  p.c = dp, p.ldc = units;
  p.goes_on = goes_on;
  p.scratch = scratch;
  products_.run(p);
}

template <class T> void Cell<T>::activate(const Gate& gate, T* z, T* kept) const {
  const std::int64_t n = gate.end - gate.begin;
  T* const at = z + gate.begin;
  const bool keeps_z = activation_keeps_z(gate.function);
  if (kept != nullptr && keeps_z) std::copy_n(at, n, kept + gate.begin);
  kernels<T>().activate[static_cast<int>(gate.function)](at, at, n, gate.alpha);
  if (kept != nullptr && !keeps_z) std::copy_n(at, n, kept + gate.begin);
}

template <class T> void Cell<T>::restore(const Gate& gate, const T* kept, T* a) const {
  const std::int64_t n = gate.end - gate.begin;
  if (!activation_keeps_z(gate.function)) {
    std::copy_n(kept + gate.begin, n, a + gate.begin);
  } else {
    kernels<T>().activate[static_cast<int>(gate.function)](kept + gate.begin, a + gate.begin, n, gate.alpha);
  }
}

template <class T> void Cell<T>::back(const Gate& gate, const T* kept, T* delta) const {
  T* const d = delta + gate.begin;
  kernels<T>().activate_back[static_cast<int>(gate.function)](kept + gate.begin, d, d, gate.end - gate.begin,
                                                              gate.alpha);
}

namespace {

template <class T> class SimpleCell final : public Cell<T> {
 public:
  using Gate = typename Cell<T>::Gate;
  SimpleCell(std::int64_t units, Activation f, T alpha, Compute compute)
      : Cell<T>(units, 1, compute), all_{0, units, f, alpha} {
    this->apart = units;
  }

  void forward(CellStep<T>& s) const override {
    const std::int64_t n = this->units;
    this->forward_product(s, s.operand, n, {0, n}, s.z, true, s.scratch);
    for (std::int64_t i = 0; i < s.m; ++i) {
      if (s.held[i]) continue;
      this->activate(all_, s.z + i * n, s.keeps ? s.gates[at(i)] : nullptr);
      std::copy_n(s.z + i * n, n, s.h + i * n);
    }
  }

  void backward(CellStep<T>& s) const override {
    const std::int64_t n = this->units;
    for (std::int64_t i = 0; i < s.m; ++i) {
      T* const delta = s.z + i * n;
      if (!s.held[i]) {
        std::copy_n(s.h + i * n, n, delta);
        this->back(all_, s.gates[at(i)], delta);
        std::fill_n(s.h + i * n, n, T(0));
      } else {
        std::fill_n(delta, n, T(0));
      }
      std::copy_n(delta, n, s.gates[at(i)]);
    }
    this->backward_product(s, {0, n}, s.dp, false, s.scratch);
  }

 private:
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
  Gate all_;
};

template <class T> class LstmCell final : public Cell<T> {
 public:
  using Gate = typename Cell<T>::Gate;
  LstmCell(std::int64_t units, Activation f, T alpha, Activation s, T s_alpha, Compute compute)
      : Cell<T>(units, 4, compute), in_forget_{0, 2 * units, s, s_alpha}, new_{2 * units, 3 * units, f, alpha},
        out_{3 * units, 4 * units, s, s_alpha}, cell_{0, units, f, alpha},
        usual_(f == Activation::kTanh && s == Activation::kSigmoid) {
    this->states = 2;
    this->apart = 4 * units;
  }

  void forward(CellStep<T>& s) const override {
    const std::int64_t n = this->units, width = this->width();
    Parts<T> parts(s.scratch);
    T* const tc = parts.take(n);
    this->forward_product(s, s.operand, n, {0, width}, s.z, true, s.scratch + parts.taken());
    for (std::int64_t i = 0; i < s.m; ++i) {
      if (s.held[i]) continue;
      T *a = s.z + i * width, *kept = s.keeps ? s.gates[static_cast<std::size_t>(i)] : nullptr, *c = s.c + i * n;
      if (usual_) {
        kernels<T>().lstm_step(a, c, s.h + i * n, kept, n);
        continue;
      }
      this->activate(in_forget_, a, kept), this->activate(new_, a, kept), this->activate(out_, a, kept);
      kernels<T>().lstm_cell(a, c, n);
      kernels<T>().activate[static_cast<int>(cell_.function)](c, tc, n, cell_.alpha);
      kernels<T>().binary[static_cast<int>(Binary::kMultiply)](a + 3 * n, 1, tc, 1, s.h + i * n, n);
    }
  }

  void backward(CellStep<T>& s) const override {
    const std::int64_t n = this->units, width = this->width();
    Parts<T> parts(s.scratch);
    T *a = parts.take(width), *c = parts.take(n), *tc = parts.take(n), *through = parts.take(n);
    for (std::int64_t i = 0; i < s.m; ++i) {
      T *gates = s.gates[static_cast<std::size_t>(i)], *delta = s.z + i * width, *dh = s.h + i * n, *dc = s.c + i * n;
      if (s.held[i]) {
        std::fill_n(delta, width, T(0)), std::fill_n(gates, width, T(0));
        continue;
      }
      const T* before = s.c_before[static_cast<std::size_t>(i)];
      if (usual_) {
        kernels<T>().lstm_step_back(gates, before, dh, dc, delta, n);
        continue;
      }
      this->restore(in_forget_, gates, a), this->restore(new_, gates, a), this->restore(out_, gates, a);
      std::copy_n(before, n, c);
      kernels<T>().lstm_cell(a, c, n);
      this->restore_cell(c, tc);
      // dc += (dh o) f'(c)
      kernels<T>().binary[static_cast<int>(Binary::kMultiply)](dh, 1, a + 3 * n, 1, through, n);
      this->back(cell_, activation_keeps_z(cell_.function) ? c : tc, through);
      kernels<T>().axpy(T(1), through, dc, n);
      kernels<T>().lstm_cell_back(a, before, tc, dh, dc, delta, n);
      this->back(in_forget_, gates, delta), this->back(new_, gates, delta), this->back(out_, gates, delta);
      std::copy_n(delta, width, gates);
      std::fill_n(dh, n, T(0));
    }
    this->backward_product(s, {0, width}, s.dp, false, s.scratch + parts.taken());
  }

 private:
  void restore_cell(const T* c, T* tc) const {
    kernels<T>().activate[static_cast<int>(cell_.function)](c, tc, this->units, cell_.alpha);
  }
  Gate in_forget_, new_, out_, cell_;
  bool usual_;  // sigmoid and tanh
};

template <class T> class GruCell final : public Cell<T> {
 public:
  using Gate = typename Cell<T>::Gate;
  GruCell(std::int64_t units, Activation f, T alpha, Activation s, T s_alpha, bool reset_after, Compute compute)
      : Cell<T>(units, 3, compute), gates_{0, 2 * units, s, s_alpha}, new_{2 * units, 3 * units, f, alpha},
        reset_after_(reset_after) {
    this->apart = 2 * units;
    this->operand_apart = !reset_after;
  }
  std::int64_t scratch(std::int64_t m) const override {
    return (m + 2) * align_up<T>(this->width() + 2 * this->units) + Cell<T>::scratch(m);
  }

  void forward(CellStep<T>& s) const override {
    const std::int64_t n = this->units, width = this->width();
    Parts<T> parts(s.scratch);
    T* const inner = parts.take(s.m * width);  // p R + b', or r p in its last columns
    T* const rest = s.scratch + parts.taken();
    if (reset_after_) {
      this->forward_product(s, s.operand, n, {0, width}, inner, false, rest);
    } else {
      this->forward_product(s, s.operand, n, {0, 2 * n}, s.z, true, rest);
    }
    for (std::int64_t i = 0; i < s.m; ++i) {
      if (s.held[i]) {
        std::fill_n(inner + i * width + 2 * n, n, T(0));
        continue;
      }
      T *a = s.z + i * width, *q = inner + i * width, *kept = s.keeps ? s.gates[at(i)] : nullptr;
      if (reset_after_) kernels<T>().axpy(T(1), q, a, 2 * n);
      this->activate(gates_, a, kept);
      if (reset_after_) {
        kernels<T>().multiply_add(a + n, q + 2 * n, a + 2 * n, n);
      } else {
        multiply(a + n, s.operand + i * n, q + 2 * n);
      }
      if (s.keeps) std::copy_n(q + 2 * n, n, s.aux[at(i)]);
    }
    if (!reset_after_) this->forward_product(s, inner + 2 * n, width, {2 * n, width}, s.z, true, rest);
    for (std::int64_t i = 0; i < s.m; ++i) {
      if (s.held[i]) continue;
      T* a = s.z + i * width;
      this->activate(new_, a, s.keeps ? s.gates[at(i)] : nullptr);
      kernels<T>().gru_cell(a, a + 2 * n, s.h + i * n, n);
    }
  }

  void backward(CellStep<T>& s) const override {
    const std::int64_t n = this->units, width = this->width();
    Parts<T> parts(s.scratch);
    T *a = parts.take(s.m * width), *reset = parts.take(s.m * n);  // gates; what reached r p, or zeros
    T* const rest = s.scratch + parts.taken();
    for (std::int64_t i = 0; i < s.m; ++i) {
      T *delta = s.z + i * width, *gate = a + i * width;
      const T* kept = s.gates[at(i)];
      if (s.held[i]) {
        std::fill_n(delta, width, T(0)), std::fill_n(gate, width, T(0));
        continue;
      }
      this->restore(gates_, kept, gate), this->restore(new_, kept, gate);
      kernels<T>().gru_cell_back(gate, gate + 2 * n, s.h_before[at(i)], s.h + i * n, delta, delta + 2 * n, n);
      this->back(new_, kept, delta);
    }
    if (!reset_after_) this->backward_product(s, {2 * n, width}, reset, false, rest);
    for (std::int64_t i = 0; i < s.m; ++i) {
      T *delta = s.z + i * width, *gate = a + i * width, *gates = s.gates[at(i)], *aux = s.aux[at(i)];
      if (s.held[i]) {
        std::fill_n(gates, width, T(0)), std::fill_n(aux, n, T(0));
        continue;
      }
      // dr = da q, or what reached r p times p.
      multiply(reset_after_ ? delta + 2 * n : reset + i * n, reset_after_ ? aux : s.operand_before[at(i)], delta + n);
      this->back(gates_, gates, delta);
      std::copy_n(delta, width, gates);
      if (!reset_after_) {
        multiply(reset + i * n, gate + n, reset + i * n);
        continue;
      }
      multiply(delta + 2 * n, gate + n, aux);
      std::copy_n(aux, n, delta + 2 * n);
    }
    finish_backward(s, reset, rest);
  }

 private:
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
  void multiply(const T* x, const T* y, T* to) const {
    kernels<T>().binary[static_cast<int>(Binary::kMultiply)](x, 1, y, 1, to, this->units);
  }
  void finish_backward(const CellStep<T>& s, const T* reset, T* scratch) const {
    if (reset_after_) return this->backward_product(s, {0, this->width()}, s.dp, false, scratch);
    this->backward_product(s, {0, 2 * this->units}, s.dp, false, scratch);
    kernels<T>().axpy(T(1), reset, s.dp, s.m * this->units);
  }
  Gate gates_, new_;
  bool reset_after_;
};

}  // namespace

template <class T> Activation function_of(const Node<T>& node, const char* key) {
  const std::string name = node.text(key);
  for (int f = 0; f < static_cast<int>(Activation::kCount); ++f) {
    if (name == activation_name(static_cast<Activation>(f))) return static_cast<Activation>(f);
  }
  throw BadInput(node.name + ": '" + name + "' is no activation of single values");
}

template <class T> std::unique_ptr<Cell<T>> make_cell(const Node<T>& node, std::int64_t units) {
  const Activation f = function_of(node, "activation");
  const std::int64_t width = units * (node.op == "lstm" ? 4 : node.op == "gru" ? 3 : 1);
  const Compute compute = where_it_pays(node.compute, node.xs[0][1] + units, width);
  const T alpha = static_cast<T>(node.number("alpha", 0));
  if (node.op == "simple_rnn") return std::make_unique<SimpleCell<T>>(units, f, alpha, compute);
  const Activation s = function_of(node, "recurrent_activation");
  const T s_alpha = static_cast<T>(node.number("recurrent_alpha", 0));
  if (node.op == "lstm") return std::make_unique<LstmCell<T>>(units, f, alpha, s, s_alpha, compute);
  return std::make_unique<GruCell<T>>(units, f, alpha, s, s_alpha, node.flag("reset_after"), compute);
}

template Activation function_of(const Node<float>&, const char*);
template Activation function_of(const Node<double>&, const char*);
template class Cell<float>;
template class Cell<double>;
template std::unique_ptr<Cell<float>> make_cell(const Node<float>&, std::int64_t);
template std::unique_ptr<Cell<double>> make_cell(const Node<double>&, std::int64_t);

}  // namespace bp
