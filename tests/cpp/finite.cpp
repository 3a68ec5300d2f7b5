// Where surely_finite() says yes, does every update leave finite weights and slots, within the bounds it gives? All
// optimizers with constants of all sizes, both dtypes, each tier: weights up to the largest number, gradients of 0, of
// the size of a subnormal number and up to the bound, for some hundred steps. And it does say yes to the defaults.
// usage: finite [count]; ends with 1 at the first that is not so.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "base/threads.h"
#include "train/finite.h"

namespace {

std::mt19937_64 numbers(1);
double uniform(double low, double high) { return std::uniform_real_distribution<double>(low, high)(numbers); }
double power(double low, double high) { return std::pow(10.0, uniform(low, high)); }
bool flip(double share) { return uniform(0, 1) < share; }

constexpr std::int64_t kElements = 67;
constexpr int kSteps = 150;

bp::OptimizerConfig random_config(bp::Optimizer kind, double most_rate) {
  bp::OptimizerConfig c = bp::default_config(kind);
  if (flip(0.8)) c.learning_rate = flip(0.3) ? power(-7, 4) : power(0, most_rate);
  if (flip(0.7)) c.epsilon = power(-37, 0);
  c.momentum = flip(0.3) ? 0 : 1 - power(-8, -0.1);
  c.beta_1 = flip(0.2) ? 0 : 1 - power(-8, -0.01);
  c.beta_2 = flip(0.2) ? c.beta_2 : 1 - power(-12, -0.01);
  if (flip(0.5)) c.rho = 1 - power(-9, -0.01);
  c.centered = flip(0.5);
  c.decoupled_decay = flip(0.5);
  if (c.decoupled_decay) c.weight_decay = power(-6, 0);
  return c;
}

// One training: 1 if an update was not finite, else 0; `sure` counts the steps with a yes.
template <class T> int train(const bp::OptimizerConfig& config, double g, double first, long* sure) {
  const T largest = std::numeric_limits<T>::max();
  std::vector<T> w(kElements), gradient(kElements);
  for (T& x : w) x = flip(0.5) ? static_cast<T>(uniform(-1, 1)) : flip(0.5) ? largest : -largest;
  std::vector<std::vector<T>> slots(static_cast<std::size_t>(bp::slot_count(config)));
  bp::SlotBounds bounds;
  for (std::size_t s = 0; s < slots.size(); ++s) {
    slots[s].assign(kElements, static_cast<T>(bp::slot_initial_value(config, static_cast<int>(s))));
    const double most = flip(0.3) ? 0 : first;
    for (T& x : slots[s]) x += static_cast<T>(most * uniform(0, 1));
    for (T x : slots[s]) bounds.most[s] = std::max(bounds.most[s], static_cast<double>(std::abs(x)));
  }
  bp::NadamProduct nadam;
  for (int step = 1; step <= kSteps; ++step) {
    const bp::Hyper<T> hyper = bp::hyper_at<T>(config, config.learning_rate, step, &nadam);
    if (!bp::surely_finite(config, hyper, g, &bounds)) return 0;
    ++*sure;
    const bool same = flip(0.3);
    for (T& x : gradient) {
      x = static_cast<T>(g * uniform(same ? 0.99 : -1, 1));
      if (flip(0.1)) x = 0;
      if (flip(0.2)) x *= static_cast<T>(power(-45, 0));
      if (flip(0.1)) x = std::numeric_limits<T>::min() * static_cast<T>(uniform(-2, 2));
    }
    bp::UpdateArgs<T> args{};
    args.rows = 1, args.n = args.stride = kElements;
    args.w = w.data(), args.g = gradient.data(), args.hyper = hyper;
    for (std::size_t s = 0; s < slots.size(); ++s) args.slot[s] = slots[s].data();
    bp::kernels<T>().update[static_cast<int>(config.kind)](args);
    bool good = bp::kernels<T>().all_finite(w.data(), kElements);
    for (std::size_t s = 0; s < slots.size(); ++s) good &= bp::kernels<T>().all_finite(slots[s].data(), kElements);
    if (good) continue;
    std::printf(
        "%s, %s, %zu bytes: rate %g, epsilon %g, momentum %g, betas %g %g, rho %g, g %g, slots from %g: step %d\n",
        bp::tier_name(), bp::optimizer_name(config.kind), sizeof(T), config.learning_rate, config.epsilon,
        config.momentum, config.beta_1, config.beta_2, config.rho, g, first, step);
    return 1;
  }
  return 0;
}

template <class T> bool all_finite(int count) {
  for (int k = 0; k < static_cast<int>(bp::Optimizer::kCount); ++k) {
    const auto kind = static_cast<bp::Optimizer>(k);
    long defaults = 0, sure = 0;
    if (train<T>(bp::default_config(kind), 4 * bp::kCalm<T>, 0, &defaults) != 0) return false;
    if (defaults < 100) {  // Adadelta's bound of its second slot grows until it is measured anew
      std::printf("%s, %zu bytes: sure of %ld steps only\n", bp::optimizer_name(kind), sizeof(T), defaults);
      return false;
    }
    for (int i = 0; i < count; ++i) {
      const double g = 4 * bp::kCalm<T> * power(-10, 0), first = flip(0.5) ? 0 : power(-5, sizeof(T) == 4 ? 20 : 150);
      if (train<T>(random_config(kind, sizeof(T) == 4 ? 38 : 300), g, first, &sure) != 0) return false;
    }
    if (sure < 20L * count) {
      std::printf("%s, %zu bytes: sure of %ld steps of %d trainings\n", bp::optimizer_name(kind), sizeof(T), sure,
                  count);
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 300;
  const bp::FloatEnvironment environment;
  for (int i = 0; bp::supported_tier(i) != nullptr; ++i) {
    bp::select_tier(bp::supported_tier(i));
    if (!all_finite<float>(count) || !all_finite<double>(count)) return 1;
  }
  std::puts("every update that was sure to be finite was");
  return 0;
}
