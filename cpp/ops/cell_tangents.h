// A step of a recurrent cell in dual numbers; the formulas are those of ops/recurrent_cells.h.
#pragma once

#include "ops/recurrent_cells.h"

namespace bp {

template <class T> struct Dual {  // v + d e, e^2 = 0
  T v = 0, d = 0;
};
template <class T> Dual<T> operator+(Dual<T> a, Dual<T> b) { return {a.v + b.v, a.d + b.d}; }
template <class T> Dual<T> operator-(Dual<T> a, Dual<T> b) { return {a.v - b.v, a.d - b.d}; }
template <class T> Dual<T> operator*(Dual<T> a, Dual<T> b) { return {a.v * b.v, a.d * b.v + a.v * b.d}; }

// Values and derivatives of n numbers.
template <class T> struct Duals {
  T *v, *d;
  Dual<T> operator[](std::int64_t i) const { return {v[i], d[i]}; }
  void set(std::int64_t i, Dual<T> to) const { v[i] = to.v, d[i] = to.d; }
  Duals at(std::int64_t i) const { return {v + i, d + i}; }
};

// A matrix of weights and its direction, null where the weights are not among those that move.
template <class T> struct Moving {
  const T *w, *direction;
};

// out += a M, or a M^T, of some columns of M (n, width), in dual numbers; out.v null: the derivative alone.
template <class T>
void add_product(Duals<T> a, Moving<T> m, std::int64_t n, std::int64_t width, Rows columns, Duals<T> out);
template <class T>
void add_turned_product(Duals<T> a, Moving<T> m, std::int64_t n, std::int64_t width, Rows columns, Duals<T> out);

// Of one sample. In what is kept, .v is as forward has left it.
template <class T> struct StepDuals {
  Duals<T> gates, operand, h_before, c_before, aux;
  Moving<T> r, bias;  // R, and b' (G U) or null
  // Forward: h.d and c.d (U) are those before, and become those after; gates.d holds that of x W + b, and becomes that
  // of z. Backward: h, c are dL/dh', dL/dc' and become what reaches h and c past the products; delta, of_r what reached
  // the products with W and with R (G U), p what reached the operand.
  Duals<T> h, c, delta, of_r, p;
  T* scratch;
};

template <class T> class CellTangents {
 public:
  explicit CellTangents(std::int64_t units, std::int64_t gates) : units(units), width(gates * units) {}
  virtual ~CellTangents() = default;
  virtual void forward(const StepDuals<T>& s) const = 0;
  virtual void backward(const StepDuals<T>& s) const = 0;
  std::int64_t scratch() const { return 3 * width + 8 * units; }

  const std::int64_t units, width;

 protected:
  struct Function {
    Activation f;
    T alpha;
  };
  // Of n gates: values and slopes.
  struct Gates {
    T *a, *first, *second;
    const T* z;  // derivatives
    Dual<T> value(std::int64_t i) const { return {a[i], first[i] * z[i]}; }
    Dual<T> slope(std::int64_t i) const { return {first[i], second[i] * z[i]}; }
    Gates at(std::int64_t i) const { return {a + i, first + i, second + i, z + i}; }
  };
  Gates open(const StepDuals<T>& s) const { return {s.scratch, s.scratch + width, s.scratch + 2 * width, s.gates.d}; }
  void look(const Function& f, const T* kept, const Gates& to, std::int64_t n) const;  // from what was kept
};

template <class T> std::unique_ptr<CellTangents<T>> make_cell_tangents(const Node<T>& node, std::int64_t units);

}  // namespace bp
