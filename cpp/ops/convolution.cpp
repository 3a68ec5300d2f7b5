// convolution: y = f(x * w + b), * a cross-correlation over one or two axes of positions, in G groups of channels.
//
//   x (N, H, W, C)  w (R, S, C/G, K)  b (K)  y (N, P, Q, K); of sequences x (N, T, C), w (S, C/G, K), y (N, Q, K)
//   z[p, k] = b[k] + sum over taps t and the channels c of k's group of x[at(p, t), c] w[t, c, k], zeros outside of x
//   y = f(z)   delta = dy f'(z), written over dy
//   dx[i, c] = sum over p, t with at(p, t) = i, and k, of delta[p, k] w[t, c, k]
//   dw[t, c, k] = sum over samples and p of x[at(p, t), c] delta[p, k]      db = sum of delta
// depthwise: each channel is a group, w (R, S, C, M) of M filters a channel, K = C M: the same numbers in the same
// order. Each is a matrix product with a panel: for some positions of one sample what their windows see, R S C/G values
// a position. The panel is made in scratch, a part at a time; windows of one pixel need none. An element of z is one
// chain over taps and channels; dx adds the windows' chains over k in the order of positions and taps; dw and db are
// summed in the batch's chunks. Kept: x, y, and z where f' needs it. Flops a sample: 2 P Q R S C/G K forward, twice
// that backward and accumulate.
#include "ops/windows.h"

#include <algorithm>

namespace bp {
namespace {

// A panel of 32,768 floats is 128 KB and stays in the level-2 cache beside the filters; with fewer than 28 rows the
// matrix kernel, which wants two register tiles of up to 14, starves.
constexpr std::int64_t kPanelSize = 1 << 15, kPanelRows = 28;

template <class T> class Convolution final : public Op<T> {
 public:
  Convolution(const Windows& windows, Shape shape, std::int64_t groups, bool depthwise, bool has_bias, Compute compute)
      : windows_(windows), weight_chunks_(shape, BatchChunks::Layout::kApart), bias_chunks_(shape), groups_(groups),
        filters_(shape.back()), group_channels_(windows.channels / groups), group_filters_(filters_ / groups),
        depth_(windows.taps() * group_channels_), positions_(windows.positions()), direct_(windows.are_pixels()),
        depthwise_(depthwise), has_bias_(has_bias), compute_(compute) {
    panel_rows_ = std::min(positions_, std::max(kPanelRows, kPanelSize / depth_));
    this->sizes_.shape = std::move(shape);
    this->sizes_.flops = 2 * checked_mul(positions_, checked_mul(depth_, filters_));
    this->facts_.differential = Differential::kAffine;
    this->facts_.steepness = 1;
  }

  std::int64_t scratch(std::int64_t) const override {
    Matmul<T> back = backward_product();
    back.add = direct_;
    return panel_size(panel_rows_, depth_) +
           std::max(products().most_scratch(forward_product()), products().most_scratch(back));
  }

  void forward(const Io<T>& io, const Block& block, T* scratch) const override {
    T* const z = keeps_z() && io.saved != nullptr ? io.saved : io.y;
    const Rows all{0, depth_};
    for (std::int64_t i = block.rows.begin; i < block.rows.end; ++i) {
      const T* const x = io.x[0] + i * windows_.in_size();
      for (const Rows part : Parts(positions_, panel_rows_)) {
        const std::int64_t at = (i * positions_ + part.begin) * filters_;
        for (std::int64_t g = 0; g < groups_; ++g) {
          Matmul<T> p = forward_product();
          p.m = part.count();
          p.a = look(x, part, g, all, scratch, p.lda);
          p.b = io.w[0] + g * group_filters_;
          p.c = z + at + g * group_filters_;
          p.bias = has_bias_ ? io.w[1] + g * group_filters_ : nullptr;
          run(p, scratch + panel_size(panel_rows_, depth_));
        }
        if (function_ == Activation::kLinear) continue;
        kernels<T>().activate[static_cast<int>(function_)](z + at, io.y + at, part.count() * filters_, alpha_);
      }
    }
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    find_delta(io, block.rows);
    if (io.dx[0] == nullptr) return;
    for (std::int64_t i = block.rows.begin; i < block.rows.end; ++i) {
      T* const dx = io.dx[0] + i * windows_.in_size();
      if (!io.add[0] && !direct_) std::fill_n(dx, windows_.in_size(), T(0));
      for (const Rows part : Parts(positions_, panel_rows_)) {
        for (std::int64_t g = 0; g < groups_; ++g) {
          Matmul<T> p = backward_product();
          p.m = part.count();
          p.a = io.dy + (i * positions_ + part.begin) * filters_ + g * group_filters_;
          p.b = io.w_back[0] + g * group_filters_;
          p.c = direct_ ? dx + part.begin * windows_.channels + g * group_channels_ : scratch;
          p.add = direct_ && io.add[0];
          run(p, scratch + panel_size(panel_rows_, depth_));
          if (!direct_) scatter(scratch, part, g, dx);
        }
      }
    }
  }

  std::int64_t accumulate_scratch(int param, const Tile& tile, std::int64_t) const override {
    if (param == 1) return bias_chunks_.template scratch<T>(tile.size());
    Matmul<T> p = gradient_product(tile);
    p.n = std::min(tile.columns.count(), group_filters_), p.k = piece();
    return weight_chunks_.template scratch<T>(tile.size()) + panel_size(piece(), tile.rows.count()) +
           products().most_scratch(p);
  }

  void accumulate(const Io<T>& io, int param, const Tile& tile, Rows rows, T* g, bool add, T* scratch) const override {
    if (param == 1) {
      return bias_chunks_.template sum_columns<T>(io.dy + tile.columns.begin, filters_, rows, tile.size(), g, add,
                                                  scratch);
    }
    T* const panel = scratch + weight_chunks_.template scratch<T>(tile.size());
    T* const rest = panel + panel_size(piece(), tile.rows.count());
    weight_chunks_.sum_pieces(rows, tile.size(), g, add, scratch, [&](Rows at, Chain chain, T* to) {
      const std::int64_t i = at.begin / positions_;
      const Rows part{at.begin - i * positions_, at.end - i * positions_};
      const T* const x = io.x[0] + i * windows_.in_size();
      if (depthwise_) return each_channel(io, at, part, x, tile, chain, to, panel, rest);
      for (std::int64_t j = tile.columns.begin; j < tile.columns.end;) {
        const std::int64_t group = j / group_filters_, end = std::min((group + 1) * group_filters_, tile.columns.end);
        Matmul<T> p = gradient_product(tile);
        p.n = end - j, p.k = part.count();
        p.a = look(x, part, group, tile.rows, panel, p.lda);
        p.b = io.dy + at.begin * filters_ + j;
        p.c = to + j - tile.columns.begin;
        p.goes_on = chain == Chain::kGoesOn;
        run(p, rest);
        j = end;
      }
    });
  }

  bool fuse(const Op<T>& next) override {
    const Facts& facts = next.facts();
    if (facts.pointwise == Activation::kCount || function_ != Activation::kLinear) return false;
    function_ = facts.pointwise;
    alpha_ = static_cast<T>(facts.alpha);
    this->sizes_.saved = keeps_z() ? positions_ * filters_ : 0;
    this->facts_.differential = Differential::kNone;  // no longer affine
    return true;
  }

 private:
  // Of n positions, parts of `step`, the last of which may be smaller.
  struct Parts {
    struct Iterator {
      std::int64_t at, n, step;
      Rows operator*() const { return {at, std::min(at + step, n)}; }
      void operator++() { at = std::min(at + step, n); }
      bool operator!=(const Iterator& other) const { return at != other.at; }
    };
    Parts(std::int64_t n, std::int64_t step) : n(n), step(step) {}
    Iterator begin() const { return {0, n, step}; }
    Iterator end() const { return {n, n, step}; }
    std::int64_t n, step;
  };

  const Products<T>& products() const { return kernels<T>().products[static_cast<int>(compute_)]; }
  void run(Matmul<T>& p, T* scratch) const {
    p.scratch = scratch;
    products().run(p);
  }
  std::int64_t piece() const { return std::min(positions_, BatchChunks::kPositions); }
  std::int64_t panel_size(std::int64_t rows, std::int64_t depth) const {
    return direct_ ? 0 : align_up<T>(rows * depth);
  }
  bool keeps_z() const { return function_ != Activation::kLinear && activation_keeps_z(function_); }

  void find_delta(const Io<T>& io, Rows rows) const {
    if (function_ == Activation::kLinear) return;
    const std::int64_t offset = rows.begin * positions_ * filters_, n = rows.count() * positions_ * filters_;
    const T* const kept = (keeps_z() ? io.saved : io.y) + offset;
    kernels<T>().activate_back[static_cast<int>(function_)](kept, io.dy + offset, io.dy + offset, n, alpha_);
  }

  // Of the most rows of a panel, and of one group; arrays are to be filled in.
  Matmul<T> forward_product() const {
    Matmul<T> p{};
    p.m = panel_rows_, p.n = group_filters_, p.k = depth_;
    p.lda = direct_ ? windows_.channels : depth_, p.ldb = p.ldc = filters_;
    return p;
  }
  Matmul<T> backward_product() const {
    Matmul<T> p{};
    p.m = panel_rows_, p.n = depth_, p.k = group_filters_;
    p.lda = p.ldb = filters_, p.b_transposed = true;
    p.ldc = direct_ ? windows_.channels : depth_;
    return p;
  }
  Matmul<T> gradient_product(const Tile& tile) const {
    Matmul<T> p{};
    p.m = tile.rows.count();
    p.lda = direct_ ? windows_.channels : tile.rows.count(), p.a_transposed = true;
    p.ldb = filters_, p.ldc = tile.columns.count();
    return p;
  }

  // A part of the gradient of a depthwise kernel, of which a tile's row is a tap of one channel.
  void each_channel(const Io<T>& io, Rows at, Rows part, const T* x, const Tile& tile, Chain chain, T* to, T* panel,
                    T* rest) const {
    const std::int64_t across = tile.columns.count();
    for (std::int64_t c = 0; c < groups_; ++c) {
      const Rows taps{(tile.rows.begin - c + groups_ - 1) / groups_, (tile.rows.end - c + groups_ - 1) / groups_};
      if (taps.count() == 0) continue;
      Matmul<T> p = gradient_product({taps, tile.columns});
      p.n = across, p.k = part.count();
      p.a = look(x, part, c, taps, panel, p.lda);
      p.b = io.dy + at.begin * filters_ + c * group_filters_ + tile.columns.begin;
      p.c = to + (taps.begin * groups_ + c - tile.rows.begin) * across;
      p.ldc = groups_ * across;
      p.goes_on = chain == Chain::kGoesOn;
      run(p, rest);
    }
  }

  // What the windows at some positions see in a group's channels of the sample x, some taps and channels of it: a
  // matrix.
  const T* look(const T* x, Rows part, std::int64_t g, Rows depth, T* panel, std::int64_t& stride) const {
    if (direct_) {
      stride = windows_.channels;
      return x + part.begin * stride + g * group_channels_ + depth.begin;
    }
    stride = depth.count();
    each_run(part, g, depth, [&](std::int64_t row, std::int64_t column, Rows seen, std::int64_t n, std::int64_t from) {
      T* const to = panel + row * stride + column;
      for (std::int64_t j = 0; j < seen.begin; ++j) to[j] = 0;
      for (std::int64_t j = seen.begin; j < seen.end; ++j) to[j] = x[from + j];
      for (std::int64_t j = seen.end; j < n; ++j) to[j] = 0;
    });
    return panel;
  }

  void scatter(const T* panel, Rows part, std::int64_t g, T* dx) const {
    each_run(part, g, {0, depth_},
             [&](std::int64_t row, std::int64_t column, Rows seen, std::int64_t, std::int64_t to) {
               const T* const from = panel + row * depth_ + column;
               for (std::int64_t j = seen.begin; j < seen.end; ++j) dx[to + j] += from[j];
             });
  }

  // Calls run(row of the panel, column, seen, n, at) for the n values of each run of taps that are neighbours in x: a
  // row of the window where its columns and channels are, else one tap. seen: those inside of x, where value j is x[at
  // + j].
  template <class Run> void each_run(Rows part, std::int64_t g, Rows depth, Run run) const {
    const Windows::Axis &rows = windows_.rows, &columns = windows_.columns;
    const bool whole = groups_ == 1 && columns.dilation == 1;
    const std::int64_t width = whole ? columns.taps : 1, across = whole ? 1 : columns.taps;
    const std::int64_t length = width * group_channels_, out = columns.out();
    for (std::int64_t p = part.begin; p < part.end; ++p) {
      const std::int64_t top = rows.first(p / out), left = columns.first(p % out);
      for (std::int64_t u = depth.begin / length; u * length < depth.end; ++u) {
        const std::int64_t i = top + u / across * rows.dilation, j = left + u % across * columns.dilation;
        const std::int64_t a = std::max(depth.begin - u * length, std::int64_t(0));
        const std::int64_t b = std::min(depth.end - u * length, length);
        Rows seen{b, b};
        if (i >= 0 && i < rows.in) {
          seen.begin = std::clamp(std::clamp(-j, std::int64_t(0), width) * group_channels_, a, b);
          seen.end = std::clamp(std::clamp(columns.in - j, std::int64_t(0), width) * group_channels_, seen.begin, b);
        }
        const std::int64_t at = (i * columns.in + j) * windows_.channels + g * group_channels_ + a;
        run(p - part.begin, u * length + a - depth.begin, Rows{seen.begin - a, seen.end - a}, b - a, at);
      }
    }
  }

  Windows windows_;
  BatchChunks weight_chunks_, bias_chunks_;
  std::int64_t groups_, filters_, group_channels_, group_filters_, depth_, positions_, panel_rows_;
  bool direct_, depthwise_, has_bias_;
  Compute compute_;
  Activation function_ = Activation::kLinear;
  T alpha_ = 0;
};

}  // namespace

template <class T> OpPtr<T> make_convolution(const Node<T>& node) {
  const Shapes& ws = node.ws;
  node.expect(ws.size() == 1 || ws.size() == 2, "convolution takes a kernel and perhaps a bias");
  node.expect(ws[0].size() >= 3, "got a kernel of shape " + to_string(ws[0]) + ", expected windows, channels, filters");
  const Windows windows = read_windows(node, {ws[0].begin(), ws[0].end() - 2});
  const bool depthwise = node.flag("depthwise");
  const std::int64_t groups = depthwise ? windows.channels : node.integer("groups", 1);
  const std::int64_t filters = checked_mul(ws[0].back(), depthwise ? groups : 1);
  node.expect(groups > 0 && windows.channels % groups == 0 && filters > 0 && filters % groups == 0,
              std::to_string(groups) + " groups do not divide " + std::to_string(windows.channels) + " channels and " +
                  std::to_string(filters) + " filters");
  node.expect(ws[0][ws[0].size() - 2] == (depthwise ? windows.channels : windows.channels / groups),
              "got x of shape " + to_string(node.xs[0]) + " a sample and a kernel of shape " + to_string(ws[0]));
  node.expect(ws.size() == 1 || ws[1] == Shape{filters}, "the bias does not fit the kernel");
  Shape shape{windows.columns.out(), filters};
  if (node.xs[0].size() == 3) shape.insert(shape.begin(), windows.rows.out());
  return std::make_unique<Convolution<T>>(windows, std::move(shape), groups, depthwise, ws.size() == 2, node.compute);
}
BP_INSTANTIATE_MAKER(make_convolution)

}  // namespace bp
