// The kernels of one tier behind plain function pointers, chosen once when the module is loaded.
//
// This header is shared by tier code and common code, so it holds only plain structs, enums and declarations: nothing
// here may have code that a compiler would emit in both. Arrays never overlap unless the comment says so.
#pragma once

#include <cstdint>

namespace bp {

// Memory that is wanted after a call: `count` runs of `bytes`, from at[i].
struct Runs {
  const char* const* at;
  std::int64_t count, bytes;
};

// ---- matrix products ------------------------------------------------------------------------------------------------
// C (m x n) = op(A) (m x k) op(B) (k x n), C row-major. Each element is one FMA chain over k in increasing order; it
// starts at bias[j] (0 without bias), or at what C holds (goes_on). With chunk > 0 the chain is restarted every `chunk`
// steps and the chunks' sums are added in order (for sums over the batch); with add, the finished sum is added to what
// C holds, or taken from it rate times over.
template <class T> struct Matmul {
  std::int64_t m, n, k;
  const T* a;  // (m, k) with leading dimension lda, or (k, m) if a_transposed
  std::int64_t lda;
  bool a_transposed;
  const T* b;  // (k, n) with leading dimension ldb, or (n, k) if b_transposed
  std::int64_t ldb;
  bool b_transposed;
  T* c;  // (m, n) with leading dimension ldc
  std::int64_t ldc;
  const T* bias;  // (n) or null; not together with chunk or add
  bool add;
  T rate;              // with add, of one chunk: C - rate * sum in one rounding, where it is not 0
  bool goes_on;        // not together with bias, add, chunk or b_transposed; from a multiple of terms_at_once()
  std::int64_t chunk;  // 0: one chain over all of k
  Runs soon;           // a hint, taken where B is read as it lies
  T* scratch;          // as much as Products says, 64-byte aligned
};

// What the operands of matrix products are rounded to, and by which instruction: nothing; bfloat16, by AVX512_BF16,
// which takes two terms of a sum at once; bfloat16, by AMX-BF16, which takes 32.
enum class Compute : int { kFull, kPairs, kTiles, kCount };

template <class T> struct Products {
  void (*run)(const Matmul<T>&);
  // In elements; they look at sizes, strides and flags only.
  std::int64_t (*scratch)(const Matmul<T>&);  // of this product
  // Enough for it, and for any that is no larger in m, n and k and has the same flags, or no add; grows with the sizes,
  // whatever the strides.
  std::int64_t (*most_scratch)(const Matmul<T>&);
};

// ---- products of windows --------------------------------------------------------------------------------------------
// C (m x n), whose sums go over runs of terms: c[i][j] is one FMA chain over runs r, and steps s of each, of
// x * b[b_r + s b_step + j], where x is a[a_r + i a_row + s a_step] or, with `lanes`, the j-th value from there. It
// starts at bias[j] (0 without bias), or at what C holds (goes_on). Rows may come in groups of `per`: then row i of A
// is row i % per of group i / per, and groups are a_group apart.
struct Run {
  std::int64_t a, b, steps;
};
template <class T> struct RunProduct {
  std::int64_t m, n;
  const T* a;
  std::int64_t a_row, a_step;
  std::int64_t per, a_group;  // per 0: no groups
  const T* b;
  std::int64_t b_step;
  T* c;  // (m, n) with leading dimension ldc
  std::int64_t ldc;
  const T* bias;  // (n) or null; not together with goes_on
  bool goes_on, lanes;
  const Run* runs;
  std::int64_t count;
};

// ---- pooling --------------------------------------------------------------------------------------------------------
// m windows, of n channels each: of window i the values x[i x_row + r row_step + s step + j], r < rows, s < columns.
template <class T> struct Pool {
  std::int64_t m, n;
  const T* x;
  std::int64_t x_row, rows, row_step, columns, step;
  const T* y;  // (m, n), compact
  T factor;    // of the windows' sums
  bool add;    // backward adds to dx; else no window overlaps another, and it writes
};

// ---- pointwise activations: a = f(z) --------------------------------------------------------------------------------
// clang-format off
enum class Activation : int {
  kLinear, kSigmoid, kHardSigmoid, kTanh, kRelu, kLeakyRelu, kRelu6, kElu, kSelu, kCelu, kGelu, kGeluTanh, kSilu, kMish,
  kSoftplus, kSoftsign, kExponential, kCount
};
// clang-format on

// ---- functions of single values: y = f(z) ---------------------------------------------------------------------------
enum class Function : int { kSin, kCos, kLog, kSqrt, kSquare, kAbs, kPower, kStep, kSign, kCount };

// ---- losses, one row = one prediction of n values -------------------------------------------------------------------
// clang-format off
enum class Loss : int {
  kMeanSquaredError, kHalfSquaredError, kMeanAbsoluteError, kHuber, kLogCosh,
  kBinaryCrossEntropy, kBinaryCrossEntropyLogits, kCrossEntropy, kCrossEntropyLogits,
  kKlDivergence, kPoisson, kHinge, kQuantile, kGaussianNll, kCount
};
// clang-format on

template <class T> struct LossArgs {
  std::int64_t rows, n;       // n = parts * targets
  std::int64_t targets;       // values of a target row; a prediction row holds `parts` blocks of this width
  const T* prediction;        // (rows, n); logits for the *Logits losses
  const T* target;            // (rows, targets), or null when label is given (the cross entropies)
  const std::int32_t* label;  // (rows), or null
  const T* weight;            // (rows), or null for 1; with weigh_terms (rows, targets), not for the cross entropies
  bool weigh_terms;           // of several targets a row each has a weight of its own
  T* row_loss;                // (rows): weight * loss of the row, or the row's loss of weighted terms
  T* delta;                   // (rows, n): scale * weight * d loss / d prediction; null: not wanted
  T scale;
  const T* options;   // huber: delta; cross entropies: label_smoothing; quantile: one level a block;
                      // gaussian_nll: smallest log-variance, constant
  const T* positive;  // (n), binary cross entropies: weights of what is true; or null for 1
};

// ---- optimizer updates: w and its slots from g, in place ------------------------------------------------------------
// clang-format off
enum class Optimizer : int {
  kSgd, kMomentum, kNesterov, kAdagrad, kRmsprop, kAdadelta, kAdam, kAmsgrad, kAdamax, kNadam, kLion, kRprop, kCount
};
// clang-format on

constexpr int kMaxSlots = 3;

template <class T> struct Hyper {  // one step's constants; train/optimizer.cpp computes them in double
  T learning_rate, momentum, beta_1, beta_2, one_minus_beta_1, one_minus_beta_2, epsilon;
  T l2_decay;         // g += l2_decay * w first (PyTorch's weight_decay)
  T decoupled_decay;  // w *= decoupled_decay first (AdamW: 1 - learning_rate * weight_decay); 1 for none
  T step_size, inv_sqrt_correction_2;  // Adam family: learning_rate / (1 - beta_1^t), 1 / sqrt(1 - beta_2^t)
  T extra[4];                          // what only one optimizer needs; its struct in kernels/update.h names them
};

template <class T> struct UpdateArgs {
  std::int64_t rows, n, stride;  // rows of n elements, in w and the slots `stride` apart, in g compact
  T* w;
  const T* g;
  T* slot[kMaxSlots];
  Hyper<T> hyper;
};

// ---- pointwise y = op(a, b) ---------------------------------------------------------------------------------------
enum class Binary : int { kAdd, kSubtract, kMultiply, kDivide, kMaximum, kMinimum, kCount };

// ---- elementary functions by number, for tests and initializers -----------------------------------------------------
enum class Math : int { kExp, kLog, kLog1p, kTanh, kSigmoid, kErf, kSoftplus, kSqrt, kCount };

// What a sum does with what its result holds: nothing, add it at the end, or begin the first chain with it.
enum class Chain { kStarts, kAdds, kGoesOn };

// A set of values within a sample: runs of `width` values, `stride` apart.
struct SetShape {
  std::int64_t runs, width, stride;
};

template <class T> struct Kernels {
  // By Compute; null where CPU, tier or type cannot. A chunk is a multiple of terms_at_once(), or all terms.
  Products<T> products[static_cast<int>(Compute::kCount)];
  void (*run_product)(const RunProduct<T>&);
  // y[i y_row + at[r] + j] += x[i ldx + r n + j] for i < m, then r < count, j < n: of rows that overlap in y, one after
  // the other.
  void (*add_runs)(const T* x, std::int64_t ldx, T* y, std::int64_t y_row, std::int64_t m, const std::int64_t* at,
                   std::int64_t count, std::int64_t n);
  // y = the largest value of each window, NaN if there is one; or the sum, in the order of r and s, times factor.
  void (*pool_most)(const Pool<T>&, T* y);
  void (*pool_mean)(const Pool<T>&, T* y);
  // dx, which lies as x does, = or += dy at the first value that is y; or dy factor at each value.
  void (*pool_most_back)(const Pool<T>&, const T* dy, T* dx);
  void (*pool_mean_back)(const Pool<T>&, const T* dy, T* dx);
  void (*transpose)(const T* x, std::int64_t ldx, T* y, std::int64_t ldy, std::int64_t rows, std::int64_t cols);

  // a = f(z); a may be z. `alpha` is the slope or scale of leaky_relu, elu, celu.
  void (*activate[static_cast<int>(Activation::kCount)])(const T* z, T* a, std::int64_t n, T alpha);
  // dz = da * f'(.), from z or from a, as activation_keeps_z() says; dz may be da.
  void (*activate_back[static_cast<int>(Activation::kCount)])(const T* kept, const T* da, T* dz, std::int64_t n,
                                                              T alpha);

  // y = f(z); alpha: the exponent of a power. dz = dy f'(z). y may be z, dz may be dy.
  void (*function[static_cast<int>(Function::kCount)])(const T* z, T* y, std::int64_t n, T alpha);
  void (*function_back[static_cast<int>(Function::kCount)])(const T* z, const T* dy, T* dz, std::int64_t n, T alpha);

  // Over the last axis of (rows, n). y may be x, dx may be dy.
  void (*softmax)(const T* x, T* y, std::int64_t rows, std::int64_t n);
  void (*softmax_back)(const T* y, const T* dy, T* dx, std::int64_t rows, std::int64_t n);
  void (*log_softmax)(const T* x, T* y, std::int64_t rows, std::int64_t n);
  void (*log_softmax_back)(const T* y, const T* dy, T* dx, std::int64_t rows, std::int64_t n);

  void (*loss[static_cast<int>(Loss::kCount)])(const LossArgs<T>&);
  void (*update[static_cast<int>(Optimizer::kCount)])(const UpdateArgs<T>&);
  void (*math[static_cast<int>(Math::kCount)])(const T* x, T* y, std::int64_t n);

  // y = a op b; step 0 broadcasts that operand's first element. y may be a or b.
  void (*binary[static_cast<int>(Binary::kCount)])(const T* a, int a_step, const T* b, int b_step, T* y,
                                                   std::int64_t n);
  void (*axpy)(T alpha, const T* x, T* y, std::int64_t n);  // y += alpha x
  void (*scale)(T alpha, T* y, std::int64_t n);             // y *= alpha
  // db (n) = sum over rows of (rows, n); chains of `chunk` rows (0: one) added in order.
  void (*column_sum)(const T* x, std::int64_t ldx, T* db, std::int64_t rows, std::int64_t n, std::int64_t chunk,
                     Chain chain);
  bool (*all_finite)(const T* x, std::int64_t n);
  T (*max_abs)(const T* x, std::int64_t n);  // NaN if there is one

  // Normalization; the formulas are in normalize.isa.cpp. Column kernels: (rows, n) with leading dimension ld.
  void (*column_dot)(const T* x, const T* shift, const T* y, std::int64_t ld, T* out, std::int64_t rows, std::int64_t n,
                     std::int64_t chunk, Chain chain);
  void (*affine_rows)(const T* x, T* y, std::int64_t ld, std::int64_t rows, std::int64_t n, const T* shift,
                      const T* scale,
                      const T* offset);  // y may be x
  void (*column_normalize_back)(const T* x, const T* dy, T* dx, std::int64_t ld, std::int64_t rows, std::int64_t n,
                                const T* shift, const T* mean_dy, const T* slope, const T* factor, bool add);
  T (*normalize_set)(const T* x, T* y, SetShape set, bool centred, T epsilon);
  void (*normalize_set_back)(const T* y, const T* dy, const T* gamma, T* dx, SetShape set, bool centred, T inverse,
                             bool add);

  // Cells of recurrent layers; the formulas are in recurrent.isa.cpp. Gates of a sample follow each other, n values
  // each.
  void (*multiply_add)(const T* a, const T* b, T* y, std::int64_t n);  // y += a b
  // A step of an LSTM with sigmoid and tanh, all of it while it is in registers: from z (4 n) and c to c and h; kept:
  // where the gates go, or null. Back: gates and delta become dz, dh zeros, dc what reaches the cell before.
  void (*lstm_step)(const T* z, T* c, T* h, T* kept, std::int64_t n);
  void (*lstm_step_back)(T* gates, const T* before, T* dh, T* dc, T* delta, std::int64_t n);
  void (*lstm_cell)(const T* gates, T* c, std::int64_t n);
  void (*lstm_cell_back)(const T* gates, const T* before, const T* tc, const T* dh, T* dc, T* delta, std::int64_t n);
  void (*gru_cell)(const T* z, const T* a, T* h, std::int64_t n);
  void (*gru_cell_back)(const T* z, const T* a, const T* h, T* dh, T* dz, T* da, std::int64_t n);

  // Numbers 64 group .. 64 group + n - 1 of a random stream: bits; below or above as their bits are < threshold or not;
  // normal deviates.
  void (*random_bits)(std::uint64_t seed, std::uint64_t stream, std::uint64_t group, std::int64_t n,
                      std::uint32_t* out);
  void (*random_choice)(std::uint64_t seed, std::uint64_t stream, std::uint64_t group, std::int64_t n,
                        std::uint32_t threshold, T below, T above, T* out);
  void (*random_normal)(std::uint64_t seed, std::uint64_t stream, std::uint64_t group, std::int64_t n, T mean,
                        T deviation, T* out);

  // Norms of parameters, in double: 32 fixed lanes, then in order; of columns: one chain over the rows of each.
  double (*sum_squares)(const T* x, std::int64_t n);
  double (*sum_abs)(const T* x, std::int64_t n);
  void (*column_squares)(const T* x, std::int64_t ldx, double* sum, std::int64_t rows, std::int64_t n);
  void (*scale_columns)(const T* factor, T* x, std::int64_t ldx, std::int64_t rows, std::int64_t n);
  void (*add_decay)(T l1, T l2, const T* w, T* g, std::int64_t n);  // g += l1 sign(w) + 2 l2 w, sign(0) = 0

  // Cholesky and triangular solves, the small blocks; the formulas are in triangular.isa.cpp. factor: false where A is
  // not positive definite; solve: n <= 8.
  bool (*factor)(T* a, std::int64_t lda, std::int64_t n);
  void (*solve)(const T* u, std::int64_t ldu, T* b, std::int64_t ldb, std::int64_t n, std::int64_t m);
  T (*dot)(const T* x, const T* y, std::int64_t n);

  // The limit of the arithmetic: FMA chains in registers, `steps` long. Returns their flops; *sum needs all of them.
  std::int64_t (*fma_chains)(std::int64_t steps, T x, T* sum);
};

// The table of the tier in use. Set by select_tier(), once, before anything else runs.
template <class T> const Kernels<T>& kernels();

bool activation_keeps_z(Activation f);      // else its derivative comes from a
const char* activation_name(Activation f);  // docs and API name; aliases are resolved in Python
std::int64_t terms_at_once(Compute c);      // of a sum: 1, 2 or 32
const char* compute_name(Compute c);        // "", "avx512_bf16" or "amx_bf16"
// The instruction of compute="bfloat16": what was selected, else the best that CPU, tier and operating system allow;
// kFull where there is none that is faster than single precision.
Compute bfloat16_products();
const char* why_no_tiles();  // null where they can be used
// "" (the best), "none" or a compute_name; false where this process cannot run it, and nothing changes. For tests: the
// CPU's tiles are emulated, or it seems to have some that the operating system refuses.
enum class Amx { kOwn, kEmulated, kRefused };
bool select_bfloat16(const char* wanted, Amx tiles);
const char* select_tier(const char* wanted);  // "", "baseline", "v3", "v4", "neon"; null if this CPU cannot run it
const char* supported_tier(int i);            // the i-th best this CPU can run; null after the last
const char* tier_name();
bool tier_has_fma();

}  // namespace bp
