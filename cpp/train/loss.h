// Losses bound to a graph: which values they read, and the fused link with the activation before them.
#pragma once

#include <limits>
#include <memory>
#include <string>

#include "plan/graph.h"
#include "train/batch_loss.h"

namespace bp {

template <class T> struct LossConfig {
  Loss kind = Loss::kMeanSquaredError;  // never a *Logits kind: the link is found here
  std::vector<double> options;          // as LossArgs has them
  int point = 0;                        // the block that metrics compare with the target
  double weight = 1;                    // of this output in the total
  std::int64_t steps = 0;  // the output's first axis, where a step is what the loss is of; 0: it is of a sample
  bool sum = false;        // over the batch and over the values of a row, in place of means
  std::shared_ptr<BatchLoss<T>> whole;  // in place of `kind`
  std::int64_t target_width = 0;        // of a sample, if it is not that of the output
};

enum class Link { kNone, kSigmoid, kSoftmax, kLogSoftmax };  // what was cut off to reach the logits

template <class T> struct BoundLoss {
  LossConfig<T> config;
  int output;      // the model's output node
  int prediction;  // the value the loss reads
  Link link;
  std::int64_t positions, width, target_width;  // width is a multiple: see LossArgs
  std::vector<T> options;                       // never empty
  std::vector<T> positive;                      // of a binary cross entropy: weights of what is true by value, or none
  bool logits;                                  // prediction holds logits
  T low, high;                                  // between which the loss is defined for targets

  // Whether the values of a row may have weights of their own: a cross entropy is one number for a row.
  bool weighs_values() const {
    return config.whole != nullptr || (config.kind != Loss::kCrossEntropy && config.kind != Loss::kCrossEntropyLogits);
  }
  // How many values the loss of a row is the mean over; 1 where it is a sum.
  double values_of_row() const {
    switch (config.kind) {
      case Loss::kCrossEntropy:
      case Loss::kCrossEntropyLogits:
      case Loss::kKlDivergence:
      case Loss::kHalfSquaredError: return 1;
      case Loss::kGaussianNll: return static_cast<double>(target_width);
      default: return static_cast<double>(width);
    }
  }
  bool bounded() const { return low > -std::numeric_limits<T>::infinity(); }
};

// softmax or log_softmax before cross_entropy, sigmoid before binary_cross_entropy: the loss takes the logits and its
// delta is p - t. No activation at the end: the outputs are logits. Anything else: probabilities.
template <class T> BoundLoss<T> bind_loss(const Graph<T>& graph, int output, LossConfig<T> config);
template <class T> std::string describe(const BoundLoss<T>& loss);

Loss loss_from_name(const std::string& name);
const std::vector<std::string>& loss_names();

}  // namespace bp
