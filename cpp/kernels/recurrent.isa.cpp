// What recurrent cells do with single values between their products; the gates are in ops/recurrent_cells.cpp.
#include "kernels/activations.h"
#include "kernels/table.h"
#include "simd/loops.h"

namespace bp::BP_TIER {

// y = fma(a, b, y)
template <class T> static void multiply_add(const T* a, const T* b, T* y, std::int64_t n) {
  each_vector<T>(
      n, [=](auto at) __attribute__((always_inline)) { at.store(y, fma(at.load(a), at.load(b), at.load(y))); });
}

// c = f c + i g; gates: i, f, g, n values each.
template <class T> static void lstm_cell(const T* gates, T* c, std::int64_t n) {
  const T *i = gates, *f = gates + n, *g = gates + 2 * n;
  each_vector<T>(n, [=](auto at) __attribute__((always_inline)) {
    at.store(c, fma(at.load(f), at.load(c), at.load(i) * at.load(g)));
  });
}

// From dh and dc, which holds dL/dc: what reaches i, f, g, o (gates, delta: n values each) and the cell before, in dc.
// tc: f(c), what the output gate lets through.
template <class T>
static void lstm_cell_back(const T* gates, const T* before, const T* tc, const T* dh, T* dc, T* delta, std::int64_t n) {
  const T *i = gates, *f = gates + n, *g = gates + 2 * n;
  each_vector<T>(n, [=](auto at) __attribute__((always_inline)) {
    const Vec<T> d = at.load(dc);
    at.store(delta, d * at.load(g));
    at.store(delta + n, d * at.load(before));
    at.store(delta + 2 * n, d * at.load(i));
    at.store(delta + 3 * n, at.load(dh) * at.load(tc));
    at.store(dc, d * at.load(f));
  });
}

// The formulas of lstm_cell and lstm_cell_back with those of the activations, to the bit.
template <class T> static void lstm_step(const T* z, T* c, T* h, T* kept, std::int64_t n) {
  each_vector<T>(n, [=](auto at) __attribute__((always_inline)) {
    const Vec<T> none(T(0)), i = Sigmoid<T>::f(at.load(z), none), f = Sigmoid<T>::f(at.load(z + n), none),
                             g = Tanh<T>::f(at.load(z + 2 * n), none), o = Sigmoid<T>::f(at.load(z + 3 * n), none);
    if (kept != nullptr) at.store(kept, i), at.store(kept + n, f), at.store(kept + 2 * n, g), at.store(kept + 3 * n, o);
    const Vec<T> cell = fma(f, at.load(c), i * g);
    at.store(c, cell);
    at.store(h, o * Tanh<T>::f(cell, none));
  });
}

template <class T> static void lstm_step_back(T* gates, const T* before, T* dh, T* dc, T* delta, std::int64_t n) {
  each_vector<T>(n, [=](auto at) __attribute__((always_inline)) {
    const Vec<T> none(T(0)), i = at.load(gates), f = at.load(gates + n), g = at.load(gates + 2 * n),
                             o = at.load(gates + 3 * n), cell = at.load(before), d_h = at.load(dh);
    const Vec<T> tc = Tanh<T>::f(fma(f, cell, i * g), none);
    const Vec<T> d = at.load(dc) + d_h * o * Tanh<T>::df(tc, none);
    const Vec<T> di = d * g * Sigmoid<T>::df(i, none), df = d * cell * Sigmoid<T>::df(f, none),
                 dg = d * i * Tanh<T>::df(g, none), d_o = d_h * tc * Sigmoid<T>::df(o, none);
    at.store(delta, di), at.store(delta + n, df), at.store(delta + 2 * n, dg), at.store(delta + 3 * n, d_o);
    at.store(gates, di), at.store(gates + n, df), at.store(gates + 2 * n, dg), at.store(gates + 3 * n, d_o);
    at.store(dc, d * f);
    at.store(dh, none);
  });
}

// h = z h + (1 - z) a
template <class T> static void gru_cell(const T* z, const T* a, T* h, std::int64_t n) {
  each_vector<T>(n, [=](auto at) __attribute__((always_inline)) {
    const Vec<T> next = at.load(a);
    at.store(h, fma(at.load(z), at.load(h) - next, next));
  });
}

// dz = dh (h - a), da = dh (1 - z); dh becomes what reaches h before: dh z.
template <class T> static void gru_cell_back(const T* z, const T* a, const T* h, T* dh, T* dz, T* da, std::int64_t n) {
  each_vector<T>(n, [=](auto at) __attribute__((always_inline)) {
    const Vec<T> d = at.load(dh), gate = at.load(z);
    at.store(dz, d * (at.load(h) - at.load(a)));
    at.store(da, fnma(d, gate, d));
    at.store(dh, d * gate);
  });
}

template <class T> void fill_recurrent(Kernels<T>& table) {
  table.multiply_add = multiply_add<T>;
  table.lstm_step = lstm_step<T>;
  table.lstm_step_back = lstm_step_back<T>;
  table.lstm_cell = lstm_cell<T>;
  table.lstm_cell_back = lstm_cell_back<T>;
  table.gru_cell = gru_cell<T>;
  table.gru_cell_back = gru_cell_back<T>;
}

template void fill_recurrent(Kernels<float>&);
template void fill_recurrent(Kernels<double>&);

}  // namespace bp::BP_TIER
