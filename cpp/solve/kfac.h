// K-FAC (J. Martens, R. Grosse, 2015): natural gradient steps for mini-batches, with the Fisher matrix of a dense layer
// as a Kronecker product.
//
//   F_l = A (x) S,  A = E[a a^T] (R, R), a the layer's input with a 1 for the bias
//                   S = E[s s^T] (O, O), s the gradient of a sample's loss in the layer's sums, for targets drawn from
//                   the model, or in expectation over them
//   direction = (A + pi g I)^-1 G (S + g / pi I)^-1,  g = sqrt(damping + 2 l2), pi^2 = (tr A / R) / (tr S / O)
// made shorter where the step's size in the model's distributions, rate^2 / 2 times the sum of direction G (their
// divergence, to second order), is above `trust` (J. Ba, R. Grosse, J. Martens, 2017).
// With `rescale` the direction D has the length that a quadratic model of the batch with the exact Fisher matrix finds,
// and as is wanted a share of the last step beside it (solve/exact_step.h); the divergence is then the exact one, too.
// G (R, O) is the gradient, with that of penalties. A and S are exponential averages, into which batch k goes with
// weight 1 - min(1 - 1/k, decay); their inverses are renewed at the first three batches and at every batch whose number
// is a multiple of `refresh`. All layers in inference mode. In double whatever T is: float has too few digits for
// inverses. Bits do not depend on the number of threads: work is dealt out in bands of a fixed size.
#pragma once

#include <map>

#include "kernels/cholesky.h"
#include "solve/dense_layers.h"
#include "solve/exact_step.h"
#include "train/preconditioner.h"

namespace bp {

// What K-FAC knows from batch to batch; it belongs to the optimizer and outlives trainers.
struct Factors {
  std::int64_t batches = 0;  // seen
  // "<parameter>/A" and "/S", symmetric, and as they are in use their damped inverses, "/A-1" and "/S-1".
  std::map<std::string, std::vector<double>> matrices;
  std::vector<double> last;  // the last step (P), where the next one looks at it
};

enum class Rescale { kNone, kStep, kBoth };

struct KfacOptions {
  double damping, decay, trust;
  std::int64_t refresh;
  Rescale rescale;
  bool expected;  // else one target is drawn for each sample
  std::uint64_t seed;
};

template <class T> class Kfac final : public Preconditioner<T> {
 public:
  Kfac(std::shared_ptr<const Graph<T>> graph, std::shared_ptr<const StepConfig<T>> config, const KfacOptions& options,
       std::shared_ptr<Factors> factors);

  void look(Team& team, const BatchJob<T>& job) override;
  T* gradient(int param) override { return direction_.data() + sweep_.offsets()[static_cast<std::size_t>(param)]; }
  void run(Team& team, const BatchJob<T>& job) override;
  void commit() override;
  const std::string& flaw() const override { return flaw_; }

 private:
  struct Side {  // A or S of a layer, (n, n)
    std::int64_t n;
    std::vector<double>*average, *inverse;   // of the factors
    std::vector<double> next, next_inverse;  // what they become
    Buffer<double> rows, batch;              // (samples, n); their square: the upper triangle
    Cholesky<double> cholesky;
    explicit Side(std::int64_t size);
  };
  struct Layer : DenseLayer {
    Layer(DenseLayer layer, std::string called, double decay)
        : DenseLayer(std::move(layer)), name(std::move(called)), l2(decay), input(rows()), delta(out),
          gradient(rows() * out, kUnwritten), half(rows() * out, kUnwritten) {}
    std::string name;
    double l2;
    Side input, delta;
    Buffer<double> gradient, half;  // (R, O)
  };
  struct Scratch {
    Buffer<double> matmul, matrix, columns;
  };

  void refuse(const StepConfig<T>& config, int other) const;
  void begin(const BatchJob<T>& job, int threads);
  void make_room(std::int64_t samples, int threads);
  void find_matrices();
  void measure(const Part& part);
  void draw_deltas(const Part& part, std::uint64_t draw);
  void expect_deltas(const Part& part);
  void take_deltas(const Part& part, bool add);
  void fold(const Team& team, double samples);
  void invert(const Team& team);
  void invert(Layer& layer, Side& side, double damping, Scratch& scratch);
  void square(const Team& team, Side Layer::*side, std::int64_t samples, bool add);
  template <class Do> void each_band(const Team& team, Side Layer::*side, Do&& work);
  typename ExactStep<T>::Lengths find_lengths(Team& team);
  void fail(std::size_t layer);
  bool settle(Team& team);

  Sweep<T> sweep_;
  KfacOptions options_;
  std::shared_ptr<Factors> factors_;
  std::vector<Layer> layers_;
  std::vector<Buffer<T>> curvature_;  // by loss
  std::int64_t samples_ = 0;
  bool looked_ = false, renewed_ = false;  // at a batch that has not been committed; with inverses of its own
  bool stepped_ = false;                   // and with a step of its own
  std::int64_t seen_ = 0;                  // the samples of the last batch that was looked at
  std::unique_ptr<ExactStep<T>> exact_;    // null: directions keep their length
  Buffer<T> proposal_, last_;              // D and the last step
  std::vector<double> next_last_;          // what factors_->last becomes
  Buffer<T> direction_;
  Buffer<double> dots_;  // by band of all layers' rows: direction times gradient
  std::vector<Scratch> scratch_;
  std::atomic<std::size_t> failed_;  // the first layer, or their number
  std::string flaw_;
};

extern template class Kfac<float>;
extern template class Kfac<double>;

}  // namespace bp
