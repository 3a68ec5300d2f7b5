// The loops of the activations (kernels/activations.h) and of the elementary functions (simd/math.h).
// Cost: one pass, 2 sizeof(T) bytes per value forward, 3 sizeof(T) backward.
#include "kernels/activations.h"

#include "kernels/table.h"
#include "simd/loops.h"

namespace bp::BP_TIER {

template <class T, template <class> class F> static void forward(const T* z, T* a, std::int64_t n, T alpha) {
  const Vec<T> slope(alpha);
  each_vector<T>(n, [&](auto at) __attribute__((always_inline)) { at.store(a, F<T>::f(at.load(z), slope)); });
}

template <class T, template <class> class F>
static void backward(const T* kept, const T* da, T* dz, std::int64_t n, T alpha) {
  const Vec<T> slope(alpha);
  each_vector<T>(
      n, [&](auto at) __attribute__((always_inline)) { at.store(dz, at.load(da) * F<T>::df(at.load(kept), slope)); });
}

template <class T, template <class> class F> static void add(Kernels<T>& table, Activation which) {
  table.activate[static_cast<int>(which)] = forward<T, F>;
  table.activate_back[static_cast<int>(which)] = backward<T, F>;
}

// clang-format off
template <class T> struct MathExp { static BP_INLINE Vec<T> f(Vec<T> x) { return exp(x); } };
template <class T> struct MathLog { static BP_INLINE Vec<T> f(Vec<T> x) { return log(x); } };
template <class T> struct MathLog1p { static BP_INLINE Vec<T> f(Vec<T> x) { return log1p(x); } };
template <class T> struct MathTanh { static BP_INLINE Vec<T> f(Vec<T> x) { return tanh(x); } };
template <class T> struct MathSigmoid { static BP_INLINE Vec<T> f(Vec<T> x) { return sigmoid(x); } };
template <class T> struct MathErf { static BP_INLINE Vec<T> f(Vec<T> x) { return erf(x); } };
template <class T> struct MathSoftplus { static BP_INLINE Vec<T> f(Vec<T> x) { return softplus(x); } };
template <class T> struct MathSqrt { static BP_INLINE Vec<T> f(Vec<T> x) { return sqrt(x); } };
// clang-format on

template <class T, template <class> class F> static void apply(const T* x, T* y, std::int64_t n) {
  each_vector<T>(n, [&](auto at) __attribute__((always_inline)) { at.store(y, F<T>::f(at.load(x))); });
}

template <class T> static void fill_math(Kernels<T>& table) {
  const auto slot = [&](Math which) -> auto& { return table.math[static_cast<int>(which)]; };
  slot(Math::kExp) = apply<T, MathExp>;
  slot(Math::kLog) = apply<T, MathLog>;
  slot(Math::kLog1p) = apply<T, MathLog1p>;
  slot(Math::kTanh) = apply<T, MathTanh>;
  slot(Math::kSigmoid) = apply<T, MathSigmoid>;
  slot(Math::kErf) = apply<T, MathErf>;
  slot(Math::kSoftplus) = apply<T, MathSoftplus>;
  slot(Math::kSqrt) = apply<T, MathSqrt>;
}

template <class T> void fill_activations(Kernels<T>& table) {
  add<T, Linear>(table, Activation::kLinear);
  add<T, Sigmoid>(table, Activation::kSigmoid);
  add<T, HardSigmoid>(table, Activation::kHardSigmoid);
  add<T, Tanh>(table, Activation::kTanh);
  add<T, Relu>(table, Activation::kRelu);
  add<T, LeakyRelu>(table, Activation::kLeakyRelu);
  add<T, Relu6>(table, Activation::kRelu6);
  add<T, Elu>(table, Activation::kElu);
  add<T, Selu>(table, Activation::kSelu);
  add<T, Celu>(table, Activation::kCelu);
  add<T, Gelu>(table, Activation::kGelu);
  add<T, GeluTanh>(table, Activation::kGeluTanh);
  add<T, Silu>(table, Activation::kSilu);
  add<T, Mish>(table, Activation::kMish);
  add<T, Softplus>(table, Activation::kSoftplus);
  add<T, Softsign>(table, Activation::kSoftsign);
  add<T, Exponential>(table, Activation::kExponential);
  fill_math(table);
}

template void fill_activations(Kernels<float>&);
template void fill_activations(Kernels<double>&);

}  // namespace bp::BP_TIER
