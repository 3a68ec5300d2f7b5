#include "solve/dense_layers.h"

#include <algorithm>

namespace bp {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// A few values; four at a time, for a compiler that is told that none is written before the others are read.
inline void scaled(const double* __restrict x, std::int64_t n, double by, double* __restrict to) {
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    to[i] = x[i] * by, to[i + 1] = x[i + 1] * by, to[i + 2] = x[i + 2] * by, to[i + 3] = x[i + 3] * by;
  }
  for (; i < n; ++i) to[i] = x[i] * by;
}

}  // namespace

template <class T> std::vector<DenseLayer> dense_layers(const Sweep<T>& sweep, int* other) {
  std::vector<DenseLayer> layers;
  *other = -1;
  for (std::size_t p = 0; p < sweep.offsets().size(); ++p) {
    if (sweep.offsets()[p] < 0) continue;
    const auto& uses = sweep.plan().uses(static_cast<int>(p));
    const Product<T>* product = uses.size() == 1 ? sweep.plan().steps()[at(uses[0].step)].op->as_product() : nullptr;
    if (product == nullptr || !product->by_depth()) {
      *other = static_cast<int>(p);
      return layers;
    }
    const auto step = at(uses[0].step);
    auto found =
        std::find_if(layers.begin(), layers.end(), [&](const DenseLayer& layer) { return layer.step == step; });
    if (found == layers.end()) {
      layers.push_back({step, static_cast<int>(p), product->in(), product->out(), {}, false, false});
      found = layers.end() - 1;
    }
    (uses[0].slot == Product<T>::kWeights ? found->kernel : found->bias) = true;
  }
  for (DenseLayer& layer : layers) {
    const auto& params = sweep.plan().steps()[layer.step].params;
    const auto place = [&](int slot) { return sweep.offsets()[at(params[at(slot)])]; };
    for (std::int64_t i = 0; layer.kernel && i < layer.in; ++i) {
      layer.offset.push_back(place(Product<T>::kWeights) + i * layer.out);
    }
    if (layer.bias) layer.offset.push_back(place(Product<T>::kBias));
  }
  return layers;
}

template <class T> void homogeneous_inputs(Sweep<T>& sweep, const DenseLayer& layer, Rows rows, double* to) {
  const std::int64_t from_kernel = layer.kernel ? layer.in : 0;
  const T* x = sweep.io(layer.step).x[0] + rows.begin * layer.in;
  for (std::int64_t r = rows.begin; r < rows.end; ++r, x += layer.in) {
    for (std::int64_t i = 0; i < from_kernel; ++i) *to++ = static_cast<double>(x[i]);
    if (layer.bias) *to++ = 1;
  }
}

void rows_of_dense_layers(Sweep<double>& sweep, const std::vector<DenseLayer>& layers, Rows rows, double* to,
                          std::int64_t stride) {
  for (const DenseLayer& layer : layers) {
    const std::int64_t in = layer.kernel ? layer.in : 0, out = layer.out;
    for (std::int64_t r = rows.begin; r < rows.end; ++r) {
      const double* const x = sweep.io(layer.step).x[0] + r * layer.in;
      const double* const d = sweep.io(layer.step).dy + r * out;
      double* const row = to + r * stride;
      if (layer.bias) scaled(d, out, 1, row + layer.offset.back());
      if (in == 0) continue;
      double* kernel = row + layer.offset.front();  // in rows of `out`, one behind the other
      if (out == 1) {
        scaled(x, in, d[0], kernel);
        continue;
      }
      for (std::int64_t i = 0; i < in; ++i, kernel += out) scaled(d, out, x[i], kernel);
    }
  }
}

#define BP_INSTANTIATE_DENSE_LAYERS(T)                                              \
  template std::vector<DenseLayer> dense_layers(const Sweep<T>& sweep, int* other); \
  template void homogeneous_inputs(Sweep<T>&, const DenseLayer&, Rows, double*);
BP_INSTANTIATE_DENSE_LAYERS(float)
BP_INSTANTIATE_DENSE_LAYERS(double)

}  // namespace bp
