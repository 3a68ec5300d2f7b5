// What recurrent cells do with single values between their products; the gates are in ops/recurrent_cells.cpp.
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
  table.lstm_cell = lstm_cell<T>;
  table.lstm_cell_back = lstm_cell_back<T>;
  table.gru_cell = gru_cell<T>;
  table.gru_cell_back = gru_cell_back<T>;
}

template void fill_recurrent(Kernels<float>&);
template void fill_recurrent(Kernels<double>&);

}  // namespace bp::BP_TIER
