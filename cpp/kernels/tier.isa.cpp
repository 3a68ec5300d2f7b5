// One tier's kernel table, from the parts that the other *.isa.cpp files fill.
#include "base/tier.h"
#include "kernels/table.h"

namespace bp::BP_TIER {

template <class T> void fill_gemm(Kernels<T>& table);         // gemm.isa.cpp
template <class T> void fill_windows(Kernels<T>& table);      // windows.isa.cpp
template <class T> void fill_pooling(Kernels<T>& table);      // pooling.isa.cpp
template <class T> void fill_activations(Kernels<T>& table);  // activations.isa.cpp
template <class T> void fill_functions(Kernels<T>& table);    // functions.isa.cpp
template <class T> void fill_rows(Kernels<T>& table);         // rows.isa.cpp
template <class T> void fill_losses(Kernels<T>& table);       // losses.isa.cpp
template <class T> void fill_updates(Kernels<T>& table);      // update.isa.cpp
template <class T> void fill_elementwise(Kernels<T>& table);  // elementwise.isa.cpp
template <class T> void fill_normalize(Kernels<T>& table);    // normalize.isa.cpp
template <class T> void fill_random(Kernels<T>& table);       // random.isa.cpp
template <class T> void fill_norms(Kernels<T>& table);        // norms.isa.cpp
template <class T> void fill_triangular(Kernels<T>& table);   // triangular.isa.cpp
template <class T> void fill_peak(Kernels<T>& table);         // peak.isa.cpp
template <class T> void fill_recurrent(Kernels<T>& table);    // recurrent.isa.cpp

template <class T> static void fill(Kernels<T>& table) {
  fill_gemm(table);
  fill_windows(table);
  fill_pooling(table);
  fill_activations(table);
  fill_functions(table);
  fill_rows(table);
  fill_losses(table);
  fill_updates(table);
  fill_elementwise(table);
  fill_normalize(table);
  fill_random(table);
  fill_norms(table);
  fill_triangular(table);
  fill_peak(table);
  fill_recurrent(table);
}

void fill_table(Kernels<float>& single, Kernels<double>& full) {
  fill(single);
  fill(full);
}

}  // namespace bp::BP_TIER
