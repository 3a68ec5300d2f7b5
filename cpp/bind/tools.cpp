// Threads, configuration, random numbers, checks of data, and single kernels for the tests.
#include <limits>

#include "base/crew.h"
#include "base/quota.h"
#include "base/threads.h"
#include "base/watch.h"
#include "bind/gil.h"
#include "bind/names.h"
#include "bind/parts.h"
#include "kernels/caches.h"
#include "kernels/table.h"
#include "ops/rounding.h"
#include "ops/team_matmul.h"
#include "plan/gather.h"
#include "plan/random.h"
#include "train/loss.h"

namespace bp {
namespace {

constexpr const char* kMathNames[] = {"exp", "log", "log1p", "tanh", "sigmoid", "erf", "softplus", "sqrt"};
static_assert(std::size(kMathNames) == static_cast<std::size_t>(Math::kCount));

int find_activation(const std::string& name) {
  return find_name(
      name, static_cast<int>(Activation::kCount),
      [](int i) { return std::string(activation_name(static_cast<Activation>(i))); }, "activation");
}

template <class T> using Dense = py::array_t<T, py::array::c_style>;

template <class T> py::array math(const std::string& name, const Dense<T>& x) {
  const int which =
      find_name(name, static_cast<int>(Math::kCount), [](int i) { return std::string(kMathNames[i]); }, "function");
  py::array_t<T> y(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
  kernels<T>().math[which](x.data(), y.mutable_data(), x.size());
  return y;
}

template <class T> py::array activation(const std::string& name, const Dense<T>& x, double alpha) {
  py::array_t<T> y(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
  kernels<T>().activate[find_activation(name)](x.data(), y.mutable_data(), x.size(), static_cast<T>(alpha));
  return y;
}

template <class T>
py::array activation_grad(const std::string& name, const Dense<T>& x, const Dense<T>& dy, double alpha) {
  check(x.size() == dy.size(), "x and dy differ in size");
  const int which = find_activation(name);
  const T slope = static_cast<T>(alpha);
  py::array_t<T> dx(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
  Buffer<T> y(x.size());
  kernels<T>().activate[which](x.data(), y.data(), x.size(), slope);
  const T* kept = activation_keeps_z(static_cast<Activation>(which)) ? x.data() : y.data();
  kernels<T>().activate_back[which](kept, dy.data(), dx.mutable_data(), x.size(), slope);
  return dx;
}

template <class T>
py::array matmul(const Dense<T>& a, const Dense<T>& b, bool ta, bool tb, const py::object& bias, std::int64_t chunk,
                 const std::string& compute, int threads, const py::object& out, bool goes_on) {
  check(threads >= 1, "matmul takes one thread or more");
  check(a.ndim() == 2 && b.ndim() == 2, "matmul takes two matrices");
  const Compute rounding = parse_compute<T>(compute);
  const Products<T>& products = kernels<T>().products[static_cast<int>(rounding)];
  Matmul<T> p{};
  p.m = a.shape(ta ? 1 : 0);
  p.k = a.shape(ta ? 0 : 1);
  p.n = b.shape(tb ? 0 : 1);
  check(b.shape(tb ? 1 : 0) == p.k, "the matrices do not fit");
  const std::int64_t terms = terms_at_once(rounding);
  check(chunk >= 0 && chunk % terms == 0, "a chunk is a multiple of " + std::to_string(terms));
  p.a = a.data(), p.lda = a.shape(1), p.a_transposed = ta;
  p.b = b.data(), p.ldb = b.shape(1), p.b_transposed = tb;
  p.ldc = p.n;
  p.chunk = chunk;
  check(out.is_none() || py::isinstance<Dense<T>>(out), "out is not a contiguous array of the operands' dtype");
  py::array_t<T> c = out.is_none() ? py::array_t<T>({p.m, p.n}) : py::reinterpret_borrow<py::array_t<T>>(out);
  check(!goes_on || (!out.is_none() && bias.is_none() && chunk == 0 && !tb),
        "goes_on needs out and B as it is, and no more");
  p.goes_on = goes_on;
  check(c.ndim() == 2 && c.shape(0) == p.m && c.shape(1) == p.n, "out does not fit");
  p.c = c.mutable_data();
  Dense<T> row;
  if (!bias.is_none()) {
    row = bias.cast<Dense<T>>();
    check(row.size() == p.n, "the bias does not fit");
    p.bias = row.data();
  }
  GilRelease release;
  team_matmul(products, p, threads);
  return c;
}

double peak(const std::string& dtype, int threads, double seconds) {
  GilRelease release;
  return dtype == "float64" ? fma_peak<double>(threads, seconds) : fma_peak<float>(threads, seconds);
}

template <class T> void bind_kernels(py::module_& m) {
  m.def("math", &math<T>, py::arg("name"), py::arg("x").noconvert());
  m.def("activation", &activation<T>, py::arg("name"), py::arg("x").noconvert(), py::arg("alpha") = 0.0);
  m.def("activation_grad", &activation_grad<T>, py::arg("name"), py::arg("x").noconvert(), py::arg("dy").noconvert(),
        py::arg("alpha") = 0.0);
  m.def("matmul", &matmul<T>, py::arg("a").noconvert(), py::arg("b").noconvert(), py::arg("transpose_a") = false,
        py::arg("transpose_b") = false, py::arg("bias") = py::none(), py::arg("chunk") = 0, py::arg("compute") = "",
        py::arg("threads") = 1, py::arg("out") = py::none(), py::arg("goes_on") = false);
}

// The greatest magnitude, or a dict about what is not finite.
py::object scan(const py::array& array, const std::string& dtype) {
  const ArrayView view = view_of(array, "array");
  FlawReport report;
  {
    const py::weakref held = holding(array);
    GilRelease release;
    report = dtype == "float64" ? find_flaws<double>(view) : find_flaws<float>(view);
  }
  if (report.kind == Flaw::kNone) return py::float_(report.largest);
  py::list index;
  std::int64_t rest = report.index;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    index.insert(0, rest % view.shape[axis]);
    rest /= view.shape[axis];
  }
  py::dict found;
  found["kind"] = report.kind == Flaw::kNan ? "nan" : report.kind == Flaw::kInfinite ? "inf" : "overflow";
  found["index"] = py::tuple(index);
  found["count"] = report.count;
  found["value"] = report.value;
  return found;
}

// AS 241 (Wichura 1988), PPND16: the normal quantile to about 1e-16, from uniforms by log and sqrt kernels of the core,
// so that a seed gives the same weights with every C library.
py::array normal(std::uint64_t seed, std::uint64_t stream, std::int64_t n, std::int64_t first);

void check_numbers(std::int64_t n, std::int64_t first) {
  check(n >= 0 && first >= 0 && first <= std::numeric_limits<std::int64_t>::max() - n, "numbers are counted from 0");
}

void bind_random(py::module_& m) {
  m.def(
      "uniform",
      [](std::uint64_t seed, std::uint64_t stream, std::int64_t n, std::int64_t first) {
        check_numbers(n, first);
        py::array_t<double> out(n);
        uniform({seed, stream}, first, n, out.mutable_data());
        return out;
      },
      py::arg("seed"), py::arg("stream"), py::arg("n"), py::arg("first") = 0);
  m.def("normal", &normal, py::arg("seed"), py::arg("stream"), py::arg("n"), py::arg("first") = 0);
  m.def(
      "permutation",
      [](std::uint64_t seed, std::uint64_t stream, std::int64_t n) {
        py::array_t<std::int64_t> out(n);
        permutation({seed, stream}, n, out.mutable_data());
        return out;
      },
      py::arg("seed"), py::arg("stream"), py::arg("n"));
  m.def(
      "philox",
      [](std::uint64_t seed, std::uint64_t stream, std::uint64_t counter) {
        std::uint32_t out[4];
        RandomStream{seed, stream}.block(counter, out);
        return py::make_tuple(out[0], out[1], out[2], out[3]);
      },
      py::arg("seed"), py::arg("stream"), py::arg("counter"));
}

// Coefficients of P/Q in increasing powers, as published.
double ratio(const double (&p)[8], const double (&q)[8], double r) {
  double top = p[7], bottom = q[7];
  for (int i = 6; i >= 0; --i) {
    top = top * r + p[i];
    bottom = bottom * r + q[i];
  }
  return top / bottom;
}

py::array normal(std::uint64_t seed, std::uint64_t stream, std::int64_t n, std::int64_t first) {
  check_numbers(n, first);
  // clang-format off
  static const double kA[8] = {3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
                               1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
                               3.3430575583588128105e4, 2.5090809287301226727e3};
  static const double kB[8] = {1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
                               2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
                               5.2264952788528545610e3};
  static const double kC[8] = {1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
                               3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
                               2.27238449892691845833e-2, 7.74545014278341407640e-4};
  static const double kD[8] = {1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
                               1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
                               1.05075007164441684324e-9};
  static const double kE[8] = {6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
                               2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                               2.71155556874348757815e-5, 2.01033439929228813265e-7};
  static const double kF[8] = {1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
                               7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
                               2.04426310338993978564e-15};
  // clang-format on
  py::array_t<double> out(n);
  Buffer<double> tail(n);
  uniform({seed, stream}, first, n, out.mutable_data());
  for (std::int64_t i = 0; i < n; ++i) {
    // The middle of one of 2^53 cells, so that neither 0 nor 1 can come.
    const double u = out.mutable_data()[i] += 0x1p-54;
    tail[i] = std::min(u, 1 - u);
  }
  kernels<double>().math[static_cast<int>(Math::kLog)](tail.data(), tail.data(), n);
  kernels<double>().scale(-1.0, tail.data(), n);
  kernels<double>().math[static_cast<int>(Math::kSqrt)](tail.data(), tail.data(), n);
  for (std::int64_t i = 0; i < n; ++i) {
    const double q = out.data()[i] - 0.5, r = tail[i];
    double x = 0;
    if (std::abs(q) <= 0.425) {
      x = q * ratio(kA, kB, 0.180625 - q * q);
    } else {
      x = r <= 5 ? ratio(kC, kD, r - 1.6) : ratio(kE, kF, r - 5);
      if (q < 0) x = -x;
    }
    out.mutable_data()[i] = x;
  }
  return out;
}

py::dict config() {
  py::dict dict;
  dict["version"] = BPCORE_VERSION;
  dict["isa"] = tier_name();
  dict["fma"] = tier_has_fma();
  py::list isas;
  for (int i = 0; supported_tier(i) != nullptr; ++i) isas.append(supported_tier(i));
  dict["isas"] = isas;
  dict["l1_cache"] = caches_in_use().l1;
  dict["l2_cache"] = caches_in_use().l2;
  dict["openmp"] = have_openmp();
  dict["bfloat16"] = compute_name(bfloat16_products());
  dict["no_tiles"] = why_no_tiles() == nullptr ? "" : why_no_tiles();
#if defined(__clang__)
  dict["compiler"] = "Clang " __clang_version__;
#else
  dict["compiler"] = "GCC " __VERSION__;
#endif
  return dict;
}

// Told the time, in seconds, instead of looking at a clock: for tests on a simulated machine.
void bind_crew(py::module_& m) {
  const auto at = [](double now) {
    return Crew::Clock::time_point(
        std::chrono::duration_cast<Crew::Clock::duration>(std::chrono::duration<double>(now)));
  };
  py::class_<Crew>(m, "Crew")
      .def(py::init<>())
      .def(
          "next", [at](Crew& crew, int most, double guess, double now) { return crew.next(most, guess, at(now)); },
          py::arg("most"), py::arg("guess"), py::arg("now"))
      .def(
          "add",
          [at](Crew& crew, int size, double units, double seconds, double now) {
            return crew.add(size, units, seconds, at(now));
          },
          py::arg("size"), py::arg("units"), py::arg("seconds"), py::arg("now"))
      .def("explain", &Crew::explain);
}

std::string activation_name_at(int i) { return activation_name(static_cast<Activation>(i)); }

}  // namespace

template <class T> Compute parse_compute(const std::string& name) {
  if (name.empty() || name == (sizeof(T) == 4 ? "float32" : "float64")) return Compute::kFull;
  check(name == "bfloat16", "unknown compute '" + name + "'");
  check(sizeof(T) == 4, "products in bfloat16 need float32");
  return bfloat16_products();
}
template Compute parse_compute<float>(const std::string& name);
template Compute parse_compute<double>(const std::string& name);

void bind_tools(py::module_& m) {
  m.def(
      "empty",
      [](const Shape& shape, const py::object& dtype) { return empty_aligned(shape, py::dtype::from_args(dtype)); },
      py::arg("shape"), py::arg("dtype"));
  m.def(
      "select_tier",
      [](const std::string& wanted) -> std::string {
        const char* name = select_tier(wanted.c_str());
        if (name == nullptr) throw std::runtime_error("this CPU cannot run the instruction set '" + wanted + "'");
        return name;
      },
      py::arg("name"));
  m.def(
      "select_bfloat16",
      [](const std::string& wanted, const std::string& tiles) {
        check(tiles.empty() || tiles == "emulated" || tiles == "refused", "tiles are '', 'emulated' or 'refused'");
        const Amx kind = tiles.empty() ? Amx::kOwn : tiles == "emulated" ? Amx::kEmulated : Amx::kRefused;
        if (select_bfloat16(wanted.c_str(), kind)) return;
        const char* why = wanted == compute_name(Compute::kTiles) ? why_no_tiles() : nullptr;
        throw std::runtime_error(
            "products in bfloat16 (BPCORE_BFLOAT16) cannot be done by '" + wanted + "'" +
            (why == nullptr
                 ? ", expected amx_bf16 or avx512_bf16, where the CPU and the kernels in use have it, or none"
                 : std::string(": ") + why));
      },
      py::arg("name"), py::arg("tiles") = "", "tiles: for tests, what the CPU seems to have.");
  m.def(
      "use_caches", [](std::int64_t l1, std::int64_t l2) { use_caches({l1, l2}); }, py::arg("l1") = 0,
      py::arg("l2") = 0, "Bytes of a core's data caches, for tests; 0: what the CPU says.");
  m.def("config", &config);
  m.def("has_fma", &tier_has_fma);
  m.def("set_num_threads", &set_num_threads, py::arg("n"), py::arg("exact") = false);
  m.def("exact_threads", &exact_threads);
  m.def("threads_in_use", &last_crew, "What the work that last chose its number of threads says of it.");
  m.def("change_teams", &force_crews, py::arg("seed"), "Other teams at every batch, for tests; 0: an end of it.");
  m.def("get_num_threads", &num_threads);
  m.def("available_cpus", &available_cpus);
  m.def("quota_cpus", &quota_cpus, py::arg("root") = "");
  m.def("scan", &scan, py::arg("array"), py::arg("dtype"));
  m.def("set_patience", [](double scale) { patience_scale = scale; }, py::arg("scale"));
  m.def("round_all_products", &round_all_products, py::arg("all"),
        "Of operations made from now on, whether that pays or not, where compute is bfloat16; for tests.");
  m.def("activation_names", [] { return all_names(static_cast<int>(Activation::kCount), activation_name_at); });
  m.def("loss_names", &loss_names);
  bind_crew(m);
  bind_random(m);
  bind_kernels<float>(m);
  bind_kernels<double>(m);
  m.def("fma_peak", &peak, py::arg("dtype") = "float32", py::arg("threads") = 1, py::arg("seconds") = 0.1);
}

}  // namespace bp
