// Losses that see all rows of a batch at once: what one row adds depends on the others. One thread runs them, between
// two barriers. A loss in Python is one too, of which the core knows no better.
#pragma once

#include "kernels/hsic.h"
#include "train/metrics.h"

namespace bp {

template <class T> struct BatchLoss {
  using Look = std::function<void(double)>;  // now and then, with the operations that are done: it may throw

  virtual ~BatchLoss() = default;
  virtual std::string name() const = 0;
  // How many classes labels may name, which the core then looks at; 0: labels are the loss's own affair.
  virtual std::int64_t classes() const { return 0; }
  // For batches of up to n rows of predictions and targets of up to `width` values: run() allocates nothing.
  virtual void make_room(std::int64_t n, std::int64_t width) { (void)n, (void)width; }
  // row_loss (n): weighted; delta like the prediction, or null: the gradient of sum(row_loss) / n.
  virtual void run(const OutputBatch<T>& batch, const Look& look, T* row_loss, T* delta) = 0;
};

struct HsicOptions {
  std::vector<double> sigmas;
  double epsilon = 1e-5, scale = 1;
  std::int64_t classes = 0;  // of targets that are labels
};

// scale times the sum over sigmas of nHSIC(prediction, target) (kernels/hsic.h). A row's part is its row of the trace,
// n times over.
template <class T> class HsicLoss final : public BatchLoss<T> {
 public:
  using typename BatchLoss<T>::Look;
  explicit HsicLoss(HsicOptions options) : options_(std::move(options)) {}

  std::string name() const override { return "hsic"; }
  std::int64_t classes() const override { return options_.classes; }
  void make_room(std::int64_t n, std::int64_t width) override;
  void run(const OutputBatch<T>& batch, const Look& look, T* row_loss, T* delta) override;

 private:
  HsicOptions options_;
  Buffer<T> memory_, relation_;  // (n, n): what a prediction's R meets
};

}  // namespace bp
