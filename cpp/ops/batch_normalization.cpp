// batch_normalization: per channel (last axis), over the batch and all other axes (Ioffe, Szegedy 2015).
//
//   x (N, .., C), M = N times the axes between;  gamma, beta (C, optional);  running mean m, running variance v (C)
//   training   y = (x - mu) / sqrt(s2 + epsilon) gamma + beta, mu = mean of x, s2 = mean of (x - mu)^2
//              commit: m = momentum m + (1 - momentum) mu; v the same with s2 M / (M - 1) (M = 1: v stays)
//              dbeta = sum dy, dgamma = sum dy u, u = (x - mu) / sqrt(s2 + epsilon)
//              dx = gamma / sqrt(s2 + epsilon) (dy - dbeta / M - u dgamma / M)
//   otherwise, and always when frozen: m, v in place of mu, s2; dx = dy gamma / sqrt(v + epsilon)
//   mask       (N, T), optional: the steps of 0 have no part in statistics, M is the number of the others; dx is 0
//   there inverse    y = x sqrt(v + epsilon) + m, frozen shifted    frozen, with neither gamma nor beta: x comes
//   without m (RowReader::subtract), y = x / sqrt(v + epsilon)
// Kept: mu, 1 / sqrt(s2 + epsilon), s2, the two sums and M, once a batch. Flops a sample: about 7 an element, twice
// that back.
#include "ops/op.h"

#include <algorithm>
#include <cmath>

namespace bp {
namespace {

enum class Mode { kBatch, kFrozen, kInverse };

template <class T> class BatchNormalization final : public Op<T> {
 public:
  BatchNormalization(const Shape& x, Mode mode, bool scale, bool center, bool shifted, bool masked, double epsilon,
                     double momentum)
      : chunks_(x, masked ? BatchChunks::Layout::kApart : BatchChunks::Layout::kDense), steps_(masked ? x[0] : 0),
        channels_(x.back()), inner_(x.back() > 0 ? size_of(x) / x.back() : 0), mode_(mode), shifted_(shifted),
        gamma_(scale ? 0 : -1), beta_(center ? (scale ? 1 : 0) : -1), mean_(scale + center),
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
      sum_of(io, io.dy + begin, rows, n, sum, rest);
      dot_of(io, io.x[0] + begin, centre, io.dy + begin, rows, n, dot, rest);
      clear_mask_gradient(io, block);
      if (io.dx[0] == nullptr) return;
      const T count = kept(io, kCount)[begin];
      for (std::int64_t j = 0; j < n; ++j) {
        factor[j] = gamma_ < 0 ? inverse[j] : inverse[j] * io.w_back[0][begin + j];
        level[j] = sum[j] / count;
        tilt[j] = dot[j] / count * inverse[j] * inverse[j];
      }
      each_run(io, {rows.begin * inner_, rows.end * inner_}, [&](Rows run, bool counts) {
        const std::int64_t at = run.begin * channels_ + begin;
        if (counts) {
          kernels<T>().column_normalize_back(io.x[0] + at, io.dy + at, io.dx[0] + at, channels_, run.count(), n, centre,
                                             level, tilt, factor, io.add[0]);
        } else if (!io.add[0]) {
          for (std::int64_t r = 0; r < run.count(); ++r) std::fill_n(io.dx[0] + at + r * channels_, n, T(0));
        }
      });
      return;
    }
    clear_mask_gradient(io, block);
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
    if (!live(io) || n == 0) return;
    const auto m = static_cast<std::int64_t>(kept(io, kCount)[0]);
    const T unbiased = m > 1 ? static_cast<T>(static_cast<double>(m) / static_cast<double>(m - 1)) : T(0);
    const T rest = T(1) - momentum_;
    T *mean = w[at(mean_)], *variance = w[at(mean_ + 1)];
    for (std::int64_t j = 0; j < channels_; ++j) {
      mean[j] = momentum_ * mean[j] + rest * kept(io, kMean)[j];
      if (m > 1) variance[j] = momentum_ * variance[j] + rest * (unbiased * kept(io, kVariance)[j]);
    }
  }

 private:
  enum Kept { kMean, kInverse, kVariance, kSum, kDot, kCount, kKept };
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
    std::int64_t terms = 0;
    each_run(io, {rows.begin * inner_, rows.end * inner_},
             [&](Rows run, bool counts) { terms += counts ? run.count() : 0; });
    const T count = static_cast<T>(std::max<std::int64_t>(terms, 1));
    std::fill_n(kept(io, kCount) + begin, n, static_cast<T>(terms));
    sum_of(io, io.x[0] + begin, rows, n, mean, scratch);
    for (std::int64_t j = 0; j < n; ++j) mean[j] /= count;
    dot_of(io, io.x[0] + begin, mean, nullptr, rows, n, variance, scratch);
    for (std::int64_t j = 0; j < n; ++j) {
      variance[j] /= count;
      inverse[j] = T(1) / std::sqrt(variance[j] + epsilon_);
    }
  }

  // visit(positions, whether they count) of each run of positions, counted over the batch, that are alike.
  template <class Visit> void each_run(const Io<T>& io, Rows positions, Visit&& visit) const {
    if (steps_ == 0) return visit(positions, true);
    const std::int64_t rest = inner_ / steps_;  // of a step
    while (positions.begin < positions.end) {
      Rows run{positions.begin, positions.begin};
      const bool counts = io.x[1][run.begin / rest] != T(0);
      while (run.end < positions.end && (io.x[1][run.end / rest] != T(0)) == counts) ++run.end;
      visit(run, counts);
      positions.begin = run.end;
    }
  }
  // one(positions, chain, to) of those that count; the others add zeros.
  template <class One>
  void sum_counting(const Io<T>& io, Rows rows, std::int64_t n, T* out, T* scratch, One one) const {
    chunks_.sum_pieces(rows, n, out, false, scratch, [&](Rows positions, Chain chain, T* to) {
      each_run(io, positions, [&](Rows run, bool counts) {
        if (!counts) return;
        one(run, chain, to);
        chain = Chain::kGoesOn;
      });
      if (chain == Chain::kStarts) std::fill_n(to, n, T(0));
    });
  }
  void sum_of(const Io<T>& io, const T* x, Rows rows, std::int64_t n, T* out, T* scratch) const {
    if (steps_ == 0) return chunks_.sum_columns(x, channels_, rows, n, out, false, scratch);
    sum_counting(io, rows, n, out, scratch, [&](Rows run, Chain chain, T* to) {
      kernels<T>().column_sum(x + run.begin * channels_, channels_, to, run.count(), n, 0, chain);
    });
  }
  void dot_of(const Io<T>& io, const T* x, const T* shift, const T* y, Rows rows, std::int64_t n, T* out,
              T* scratch) const {
    if (steps_ == 0) return chunks_.template dot_columns<T>(x, shift, y, channels_, rows, n, out, false, scratch);
    sum_counting(io, rows, n, out, scratch, [&](Rows run, Chain chain, T* to) {
      const std::int64_t at = run.begin * channels_;
      kernels<T>().column_dot(x + at, shift, y == nullptr ? nullptr : y + at, channels_, to, run.count(), n, 0, chain);
    });
  }
  void clear_mask_gradient(const Io<T>& io, const Block& block) const {
    if (io.dx.size() < 2 || io.dx[1] == nullptr || io.add[1] || block.columns.begin > 0) return;
    std::fill_n(io.dx[1] + block.rows.begin * steps_, block.rows.count() * steps_, T(0));
  }

  static void no_gradient(std::int64_t n, T* g, bool add) {
    if (!add) std::fill_n(g, n, T(0));
  }

  BatchChunks chunks_;
  std::int64_t steps_, channels_, inner_;  // steps: of the mask, 0 without one
  Mode mode_;
  bool shifted_;
  int gamma_, beta_, mean_;  // places among the parameters, -1: none
  T epsilon_, momentum_;
};

}  // namespace

template <class T> OpPtr<T> make_batch_normalization(const Node<T>& node) {
  const Shapes &xs = node.xs, &ws = node.ws;
  const bool masked = xs.size() == 2;
  node.expect((xs.size() == 1 || masked) && !xs[0].empty() && xs[0].back() > 0,
              "expected an input of rank 1 or more, and perhaps a mask");
  node.expect(!masked || (xs[0].size() > 1 && xs[1] == Shape{xs[0][0]}), "the mask does not fit");
  const bool scale = node.flag("scale"), center = node.flag("center");
  node.expect(ws.size() == std::size_t{2} + scale + center, "a wrong number of parameters");
  for (const Shape& w : ws) node.expect(w == Shape{xs[0].back()}, "expected parameters of the last axis");
  const std::string name = node.text("mode");
  node.expect(name == "batch" || name == "frozen" || name == "inverse", "unknown mode '" + name + "'");
  const Mode mode = name == "batch" ? Mode::kBatch : name == "frozen" ? Mode::kFrozen : Mode::kInverse;
  const bool shifted = node.flag("shifted");
  node.expect(mode != Mode::kInverse || (!scale && !center), "the inverse has neither gamma nor beta");
  node.expect(!shifted || (mode == Mode::kFrozen && !scale && !center), "only plain frozen statistics can be shifted");
  return std::make_unique<BatchNormalization<T>>(xs[0], mode, scale, center, shifted, masked, node.number("epsilon", 0),
                                                 node.number("momentum", 0));
}
BP_INSTANTIATE_MAKER(make_batch_normalization)

}  // namespace bp
