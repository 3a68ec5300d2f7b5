// batch_normalization: per channel (last axis), over the batch and all other axes (Ioffe, Szegedy 2015).
//
//   x (N, .., C), M = N times the axes between;  gamma, beta (C, optional);  running mean m, running variance v (C)
//   training   y = (x - mu) / sqrt(s2 + epsilon) gamma + beta, mu = mean of x, s2 = mean of (x - mu)^2
//              commit: m = momentum m + (1 - momentum) mu; v the same with s2 M / (M - 1) (M = 1: v stays)
//              dbeta = sum dy, dgamma = sum dy u, u = (x - mu) / sqrt(s2 + epsilon)
//              dx = gamma / sqrt(s2 + epsilon) (dy - dbeta / M - u dgamma / M)
//   otherwise, and always when frozen: m, v in place of mu, s2; dx = dy gamma / sqrt(v + epsilon)
//   inverse    y = x sqrt(v + epsilon) + m, frozen
//   shifted    frozen, with neither gamma nor beta: x comes without m (RowReader::subtract), y = x / sqrt(v + epsilon)
// Kept: mu, 1 / sqrt(s2 + epsilon), s2 and the two sums, once a batch. Flops a sample: about 7 an element, twice that
// back.
#include "ops/op.h"

#include <algorithm>
#include <cmath>

namespace bp {
namespace {

enum class Mode { kBatch, kFrozen, kInverse };

template <class T> class BatchNormalization final : public Op<T> {
 public:
  BatchNormalization(const Shape& x, Mode mode, bool scale, bool center, bool shifted, double epsilon, double momentum)
      : chunks_(x), channels_(x.back()), inner_(x.back() > 0 ? size_of(x) / x.back() : 0), mode_(mode),
        shifted_(shifted), gamma_(scale ? 0 : -1), beta_(center ? (scale ? 1 : 0) : -1), mean_(scale + center),
        epsilon_(static_cast<T>(epsilon)), momentum_(static_cast<T>(momentum)) {
    this->sizes_.shape = x;
    this->sizes_.features = channels_;
    this->sizes_.kept = mode == Mode::kBatch ? kKept * channels_ : 0;
    this->sizes_.flops = 7 * inner_ * channels_;
    this->facts_.partition = mode == Mode::kBatch ? Partition::kFeatures : Partition::kRows;
    this->facts_.rows_in_use = true;
    this->facts_.differential = Differential::kAffine;
    this->facts_.steepness = std::max(2.0, 2 / std::sqrt(epsilon));  // |x - mu| / sqrt(s2 + epsilon)
  }
  std::int64_t scratch(std::int64_t) const override {
    return 3 * align_up<T>(channels_) + chunks_.template scratch<T>(channels_);
  }
  std::int64_t accumulate_scratch(int, const Tile& tile, std::int64_t) const override {
    return align_up<T>(tile.size()) + chunks_.template scratch<T>(tile.size());
  }

  void forward(const Io<T>& io, const Block& block, T* scratch) const override {
    const Rows rows = block.rows, columns = block.columns;
    const std::int64_t begin = columns.begin, n = columns.count(), m = rows.count() * inner_;
    const std::int64_t offset = rows.begin * inner_ * channels_ + begin;
    const T *centre = shifted_ ? nullptr : io.w[at(mean_)] + begin, *inverse = nullptr;
    T* factor = scratch;
    if (live(io)) {
      measure(io, rows, columns, scratch);
      centre = kept(io, kMean) + begin, inverse = kept(io, kInverse) + begin;
    }
    for (std::int64_t j = 0; j < n; ++j) {
      const T d = inverse != nullptr ? inverse[j] : slope(io, begin + j);
      factor[j] = gamma_ < 0 ? d : d * io.w[0][begin + j];
    }
    if (mode_ == Mode::kInverse) {
      kernels<T>().affine_rows(io.x[0] + offset, io.y + offset, channels_, m, n, nullptr, factor, centre);
      return;
    }
    const T* level = beta_ < 0 ? nullptr : io.w[at(beta_)] + begin;
    kernels<T>().affine_rows(io.x[0] + offset, io.y + offset, channels_, m, n, centre, factor, level);
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    const Rows rows = block.rows, columns = block.columns;
    const std::int64_t begin = columns.begin, n = columns.count(), m = rows.count() * inner_;
    const std::int64_t offset = rows.begin * inner_ * channels_ + begin;
    const std::int64_t step = align_up<T>(channels_);
    T *factor = scratch, *level = factor + step, *tilt = level + step, *rest = tilt + step;
    if (live(io)) {
      T *sum = kept(io, kSum) + begin, *dot = kept(io, kDot) + begin;
      const T *centre = kept(io, kMean) + begin, *inverse = kept(io, kInverse) + begin;
      chunks_.sum_columns(io.dy + begin, channels_, rows, n, sum, false, rest);
      chunks_.dot_columns(io.x[0] + begin, centre, io.dy + begin, channels_, rows, n, dot, false, rest);
      if (io.dx[0] == nullptr) return;
      const T count = static_cast<T>(m);
      for (std::int64_t j = 0; j < n; ++j) {
        factor[j] = gamma_ < 0 ? inverse[j] : inverse[j] * io.w_back[0][begin + j];
        level[j] = sum[j] / count;
        tilt[j] = dot[j] / count * inverse[j] * inverse[j];
      }
      kernels<T>().column_normalize_back(io.x[0] + offset, io.dy + offset, io.dx[0] + offset, channels_, m, n, centre,
                                         level, tilt, factor, io.add[0]);
      return;
    }
    if (io.dx[0] == nullptr) return;
    for (std::int64_t j = 0; j < n; ++j) {
      factor[j] = slope(io, begin + j) * (gamma_ < 0 ? T(1) : io.w_back[0][begin + j]);
      level[j] = tilt[j] = 0;
    }
    kernels<T>().column_normalize_back(io.x[0] + offset, io.dy + offset, io.dx[0] + offset, channels_, m, n,
                                       io.w[at(mean_)] + begin, level, tilt, factor, io.add[0]);
  }

  void accumulate(const Io<T>& io, int param, const Tile& tile, Rows rows, T* g, bool add, T* scratch) const override {
    const std::int64_t begin = tile.columns.begin, n = tile.columns.count();
    if (param != gamma_ && param != beta_) return no_gradient(n, g, add);
    T *sums = scratch, *rest = scratch + align_up<T>(n);
    if (live(io)) {
      std::copy_n(kept(io, param == gamma_ ? kDot : kSum) + begin, n, sums);
    } else if (param == beta_) {
      chunks_.template sum_columns<T>(io.dy + begin, channels_, rows, n, sums, false, rest);
    } else {
      chunks_.dot_columns(io.x[0] + begin, io.w[at(mean_)] + begin, io.dy + begin, channels_, rows, n, sums, false,
                          rest);
    }
    for (std::int64_t j = 0; j < n; ++j) {
      T d = sums[j];
      if (param == gamma_) d *= live(io) ? kept(io, kInverse)[begin + j] : slope(io, begin + j);
      g[j] = add ? g[j] + d : d;
    }
  }

  void commit(const Io<T>& io, std::int64_t n, const std::vector<T*>& w) const override {
    if (!live(io)) return;
    const std::int64_t m = n * inner_;
    const T unbiased = m > 1 ? static_cast<T>(static_cast<double>(m) / static_cast<double>(m - 1)) : T(0);
    const T rest = T(1) - momentum_;
    T *mean = w[at(mean_)], *variance = w[at(mean_ + 1)];
    for (std::int64_t j = 0; j < channels_; ++j) {
      mean[j] = momentum_ * mean[j] + rest * kept(io, kMean)[j];
      if (m > 1) variance[j] = momentum_ * variance[j] + rest * (unbiased * kept(io, kVariance)[j]);
    }
  }

 private:
  enum Kept { kMean, kInverse, kVariance, kSum, kDot, kKept };
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  bool live(const Io<T>& io) const { return io.training && mode_ == Mode::kBatch; }
  T* kept(const Io<T>& io, Kept what) const { return io.kept + what * channels_; }
  T slope(const Io<T>& io, std::int64_t j) const {
    const T deviation = std::sqrt(io.w[at(mean_ + 1)][j] + epsilon_);
    return mode_ == Mode::kInverse ? deviation : T(1) / deviation;
  }

  void measure(const Io<T>& io, Rows rows, Rows columns, T* scratch) const {
    const std::int64_t begin = columns.begin, n = columns.count();
    T *mean = kept(io, kMean) + begin, *variance = kept(io, kVariance) + begin, *inverse = kept(io, kInverse) + begin;
    const T count = static_cast<T>(std::max<std::int64_t>(rows.count() * inner_, 1));
    chunks_.sum_columns(io.x[0] + begin, channels_, rows, n, mean, false, scratch);
    for (std::int64_t j = 0; j < n; ++j) mean[j] /= count;
    chunks_.template dot_columns<T>(io.x[0] + begin, mean, nullptr, channels_, rows, n, variance, false, scratch);
    for (std::int64_t j = 0; j < n; ++j) {
      variance[j] /= count;
      inverse[j] = T(1) / std::sqrt(variance[j] + epsilon_);
    }
  }

  static void no_gradient(std::int64_t n, T* g, bool add) {
    if (!add) std::fill_n(g, n, T(0));
  }

  BatchChunks chunks_;
  std::int64_t channels_, inner_;
  Mode mode_;
  bool shifted_;
  int gamma_, beta_, mean_;  // places among the parameters, -1: none
  T epsilon_, momentum_;
};

}  // namespace

template <class T> OpPtr<T> make_batch_normalization(const Node<T>& node) {
  const Shapes &xs = node.xs, &ws = node.ws;
  node.expect(xs.size() == 1 && !xs[0].empty() && xs[0].back() > 0, "expected one input of rank 1 or more");
  const bool scale = node.flag("scale"), center = node.flag("center");
  node.expect(ws.size() == std::size_t{2} + scale + center, "a wrong number of parameters");
  for (const Shape& w : ws) node.expect(w == Shape{xs[0].back()}, "expected parameters of the last axis");
  const std::string name = node.text("mode");
  node.expect(name == "batch" || name == "frozen" || name == "inverse", "unknown mode '" + name + "'");
  const Mode mode = name == "batch" ? Mode::kBatch : name == "frozen" ? Mode::kFrozen : Mode::kInverse;
  const bool shifted = node.flag("shifted");
  node.expect(mode != Mode::kInverse || (!scale && !center), "the inverse has neither gamma nor beta");
  node.expect(!shifted || (mode == Mode::kFrozen && !scale && !center), "only plain frozen statistics can be shifted");
  return std::make_unique<BatchNormalization<T>>(xs[0], mode, scale, center, shifted, node.number("epsilon", 0),
                                                 node.number("momentum", 0));
}
BP_INSTANTIATE_MAKER(make_batch_normalization)

}  // namespace bp
