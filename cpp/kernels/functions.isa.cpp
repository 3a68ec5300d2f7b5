// Functions of single values that are no activations: f and its derivative df side by side, both of z.
//
// sin, cos: z = k pi/2 + r, |r| <= pi/4, with pi/2 in three parts whose first products with k are exact (Cody and Waite
// 1980; parts and polynomials of Cephes' sin.c, S. Moshier), so z may be as large as 1e4 in float and 1e9 in double;
// beyond, digits are lost. A power with a whole exponent up to 1024 is made of products, so that z may be negative; any
// other is e^(alpha log z). df at a kink: abs 0. NaN in gives NaN out.
#include "kernels/table.h"
#include "simd/loops.h"
#include "simd/math.h"

namespace bp::BP_TIER {

template <class T> static BP_INLINE Vec<T> all(double x) { return Vec<T>(static_cast<T>(x)); }

template <class T> struct Turns {  // sin and cos of r, and the quadrant, -2 to 2
  Vec<T> sine, cosine, quadrant;
};
template <class T> static BP_INLINE Turns<T> turns(Vec<T> z) {
  constexpr T kSine[] = {T(1.58962301576546568060e-10), T(-2.50507477628578072866e-8), T(2.75573136213857245213e-6),
                         T(-1.98412698295895385996e-4), T(8.33333333332211858878e-3),  T(-1.66666666666666307295e-1)};
  constexpr T kCosine[] = {T(-1.13585365213876817300e-11), T(2.08757008419747316778e-9),  T(-2.75573141792967388112e-7),
                           T(2.48015872888517045348e-5),   T(-1.38888888888730564116e-3), T(4.16666666666665929218e-2)};
  constexpr bool kSingle = sizeof(T) == 4;
  constexpr double kHigh = kSingle ? 1.5703125 : 1.57079625129699707031;
  constexpr double kMiddle = kSingle ? 4.837512969970703125e-4 : 7.54978941586159635336e-8;
  constexpr double kLow = kSingle ? 7.54978995489188216e-8 : 5.39030285815811905290e-15;
  const Vec<T> magic = all<T>(kSingle ? 12582912.0 : 6755399441055744.0);  // 1.5 2^23, 1.5 2^52
  const Vec<T> k = fma(z, all<T>(0.63661977236758134308), magic) - magic;
  const Vec<T> fours = fma(k, all<T>(0.25), magic) - magic;
  Turns<T> found;
  found.quadrant = fnma(fours, all<T>(4), k);
  const Vec<T> r = fnma(k, all<T>(kLow), fnma(k, all<T>(kMiddle), fnma(k, all<T>(kHigh), z)));
  const Vec<T> square = r * r;
  found.sine = fma(r * square, polynomial(square, kSine), r);
  found.cosine = fma(square * square, polynomial(square, kCosine), fnma(square, all<T>(0.5), all<T>(1)));
  return found;
}
template <class T> static BP_INLINE Vec<T> sine(Vec<T> z) {
  const Turns<T> t = turns(z);
  const Vec<T> side = abs(t.quadrant), value = select(side == all<T>(1), t.cosine, t.sine);
  return select((t.quadrant == all<T>(-1)) | (side == all<T>(2)), -value, value);
}
template <class T> static BP_INLINE Vec<T> cosine(Vec<T> z) {
  const Turns<T> t = turns(z);
  const Vec<T> side = abs(t.quadrant), value = select(side == all<T>(1), t.sine, t.cosine);
  return select((t.quadrant == all<T>(1)) | (side == all<T>(2)), -value, value);
}

template <class T> struct Sin {
  static BP_INLINE Vec<T> f(Vec<T> z, T) { return sine(z); }
  static BP_INLINE Vec<T> df(Vec<T> z, T) { return cosine(z); }
};
template <class T> struct Cos {
  static BP_INLINE Vec<T> f(Vec<T> z, T) { return cosine(z); }
  static BP_INLINE Vec<T> df(Vec<T> z, T) { return -sine(z); }
};
template <class T> struct Log {
  static BP_INLINE Vec<T> f(Vec<T> z, T) { return log(z); }
  static BP_INLINE Vec<T> df(Vec<T> z, T) { return all<T>(1) / z; }
};
template <class T> struct Sqrt {
  static BP_INLINE Vec<T> f(Vec<T> z, T) { return sqrt(z); }
  static BP_INLINE Vec<T> df(Vec<T> z, T) { return all<T>(0.5) / sqrt(z); }
};
template <class T> struct Square {
  static BP_INLINE Vec<T> f(Vec<T> z, T) { return z * z; }
  static BP_INLINE Vec<T> df(Vec<T> z, T) { return z + z; }
};
template <class T> struct Abs {
  static BP_INLINE Vec<T> f(Vec<T> z, T) { return abs(z); }
  static BP_INLINE Vec<T> df(Vec<T> z, T) { return select(z == all<T>(0), all<T>(0), copysign(all<T>(1), z)); }
};

template <class T> static BP_INLINE Vec<T> power(Vec<T> z, T alpha) {
  constexpr T kMost = 1024;
  const bool whole = alpha >= -kMost && alpha <= kMost && static_cast<T>(static_cast<int>(alpha)) == alpha;
  if (!whole) return select(z == all<T>(0), all<T>(alpha > 0 ? 0.0 : 1.0 / 0.0), exp(Vec<T>(alpha) * log(z)));
  int n = static_cast<int>(alpha);
  const bool below = n < 0;
  if (below) n = -n;
  Vec<T> result = all<T>(1), factor = z;
  for (; n > 0; n >>= 1, factor = factor * factor) {
    if (n & 1) result = result * factor;
  }
  return below ? all<T>(1) / result : result;
}
template <class T> struct Power {  // z^alpha
  static BP_INLINE Vec<T> f(Vec<T> z, T alpha) { return power(z, alpha); }
  static BP_INLINE Vec<T> df(Vec<T> z, T alpha) { return alpha == 0 ? all<T>(0) : Vec<T>(alpha) * power(z, alpha - 1); }
};

// Hard thresholds, straight through: the derivative is that of the line within [-1, 1] (Bengio et al. 2013, Hubara et
// al. 2016).
template <class T> static BP_INLINE Vec<T> within_one(Vec<T> z) {
  return select(abs(z) <= all<T>(1), all<T>(1), all<T>(0));
}
template <class T> struct Step {  // z > 0
  static BP_INLINE Vec<T> f(Vec<T> z, T) { return select(z > all<T>(0), all<T>(1), max(all<T>(0), min(all<T>(0), z))); }
  static BP_INLINE Vec<T> df(Vec<T> z, T) { return within_one(z); }
};
template <class T> struct Sign {  // -1, 0, 1
  static BP_INLINE Vec<T> f(Vec<T> z, T) {
    return select(z > all<T>(0), all<T>(1), select(z < all<T>(0), all<T>(-1), z));
  }
  static BP_INLINE Vec<T> df(Vec<T> z, T) { return within_one(z); }
};

template <class T, template <class> class F> static void forward(const T* z, T* y, std::int64_t n, T alpha) {
  each_vector<T>(n, [&](auto at) __attribute__((always_inline)) { at.store(y, F<T>::f(at.load(z), alpha)); });
}
template <class T, template <class> class F>
static void backward(const T* z, const T* dy, T* dz, std::int64_t n, T alpha) {
  each_vector<T>(
      n, [&](auto at) __attribute__((always_inline)) { at.store(dz, at.load(dy) * F<T>::df(at.load(z), alpha)); });
}
template <class T, template <class> class F> static void add(Kernels<T>& table, Function which) {
  table.function[static_cast<int>(which)] = forward<T, F>;
  table.function_back[static_cast<int>(which)] = backward<T, F>;
}

template <class T> void fill_functions(Kernels<T>& table) {
  add<T, Sin>(table, Function::kSin);
  add<T, Cos>(table, Function::kCos);
  add<T, Log>(table, Function::kLog);
  add<T, Sqrt>(table, Function::kSqrt);
  add<T, Square>(table, Function::kSquare);
  add<T, Abs>(table, Function::kAbs);
  add<T, Power>(table, Function::kPower);
  add<T, Step>(table, Function::kStep);
  add<T, Sign>(table, Function::kSign);
}

template void fill_functions(Kernels<float>&);
template void fill_functions(Kernels<double>&);

}  // namespace bp::BP_TIER
