// convolution: y = f(x * w + b), * a cross-correlation over one or two axes of positions, in G groups of channels.
//
//   x (N, H, W, C)  w (R, S, C/G, K)  b (K)  y (N, P, Q, K); of sequences x (N, T, C), w (S, C/G, K), y (N, Q, K)
//   z[p, k] = b[k] + sum over taps t and the channels c of k's group of x[at(p, t), c] w[t, c, k], zeros outside of x
//   y = f(z)   delta = dy f'(z), written over dy
//   dx[i, c] = sum over p, t with at(p, t) = i, and k, of delta[p, k] w[t, c, k]
//   dw[t, c, k] = sum over samples and p of x[at(p, t), c] delta[p, k]      db = sum of delta
// depthwise: each channel is a group, w (R, S, C, M) of M filters a channel, K = C M: the same numbers in the same
// order. Windows of one pixel are a dense layer (ops/dense.h). Others need no array of what they see
// (ops/window_products.h), but where few channels would leave vectors empty on the way back, and for bfloat16, whose
// products want their terms side by side: then what the windows of some positions of one sample see, R S C/G values
// each, lies in a panel in scratch. An element of z is one chain over taps and channels, of dx over positions and
// filters, or the sum of chains over filters in the order of positions; dw and db are summed in the batch's chunks.
// Kept: x, y, and z where f' needs it. Flops a sample: 2 P Q R S C/G K forward, twice that backward and accumulate.
#include "ops/dense.h"
#include "ops/panels.h"
#include "ops/rounding.h"
#include "ops/window_products.h"

#include <algorithm>

namespace bp {
namespace {

// A panel of 8,192 floats is 32 KB and stays in the level-1 cache; with fewer than 28 rows the matrix kernel, which
// wants two register tiles of up to 14, starves.
constexpr std::int64_t kPanelSize = 1 << 13, kPanelRows = 28;

template <class T> class Convolution final : public Op<T> {
 public:
  Convolution(const Windows& windows, Shape shape, std::int64_t groups, bool depthwise, bool has_bias, Compute allowed)
      : chunks_(shape, BatchChunks::Layout::kApart), bias_chunks_(shape), panels_(windows, groups),
        products_(windows, groups, shape.back(), depthwise), in_(windows.in_size()), positions_(windows.positions()),
        filters_(shape.back()), groups_(groups), has_bias_(has_bias),
        compute_(products_.lanes() ? Compute::kFull : where_it_pays(allowed, depth(), group_filters())),
        rounds_(compute_ != Compute::kFull), gives_(rounds_ || giving_pays(windows)) {
    panel_rows_ = std::min(positions_, std::max(kPanelRows, kPanelSize / depth()));
    this->sizes_.shape = std::move(shape);
    this->sizes_.flops = 2 * checked_mul(positions_, checked_mul(depth(), filters_));
    this->facts_.differential = Differential::kAffine;
    this->facts_.steepness = 1;
    this->facts_.compute = compute_;
  }

  std::int64_t scratch(std::int64_t) const override {
    const std::int64_t image = align_up<T>(panels_.image().size()), panel = align_up<T>(panel_rows_ * depth());
    const std::int64_t forward =
        rounds_ ? image + panel + products().most_scratch(forward_product()) : products_.forward_scratch();
    const std::int64_t back =
        gives_ ? image + panel + products().most_scratch(backward_product()) : products_.backward_scratch();
    return std::max(forward, products_.turned_size() + back);
  }

  void forward(const Io<T>& io, const Block& block, T* scratch) const override {
    T* const z = keeps_z() && io.saved != nullptr ? io.saved : io.y;
    const T* const bias = has_bias_ ? io.w[1] : nullptr;
    const std::int64_t out = positions_ * filters_;
    for (std::int64_t i = block.rows.begin; i < block.rows.end; ++i) {
      if (rounds_) {
        forward_by_panels(io.x[0] + i * in_, io.w[0], bias, z + i * out, scratch);
      } else {
        products_.forward(io.x[0] + i * in_, io.w[0], bias, z + i * out, scratch);
      }
      if (function_ == Activation::kLinear) continue;
      kernels<T>().activate[static_cast<int>(function_)](z + i * out, io.y + i * out, out, alpha_);
    }
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    find_delta(io, block.rows);
    if (io.dx[0] == nullptr) return;
    T *const turned = scratch, *const rest = scratch + products_.turned_size();
    if (gives_) {
      for (std::int64_t g = 0; g < groups_; ++g) {
        kernels<T>().transpose(io.w_back[0] + g * group_filters(), filters_, turned + g * group_filters() * depth(),
                               depth(), depth(), group_filters());
      }
    } else {
      products_.turn(io.w_back[0], turned);
    }
    for (std::int64_t i = block.rows.begin; i < block.rows.end; ++i) {
      const T* const delta = io.dy + i * positions_ * filters_;
      T* const dx = io.dx[0] + i * in_;
      if (gives_) {
        backward_by_panels(delta, turned, dx, io.add[0] != 0, rest);
      } else {
        products_.backward(delta, turned, dx, io.add[0] != 0, rest);
      }
    }
  }

  std::int64_t accumulate_scratch(int param, const Tile& tile, std::int64_t) const override {
    if (param == 1) return bias_chunks_.template scratch<T>(tile.size());
    const std::int64_t chunks = chunks_.template scratch<T>(tile.size());
    if (!rounds_) return chunks + products_.gradient_scratch();
    return chunks + align_up<T>(panels_.image().size()) + align_up<T>(piece() * tile.rows.count()) +
           products().most_scratch(gradient_product(tile));
  }

  void accumulate(const Io<T>& io, int param, const Tile& tile, Rows rows, T* g, bool add, T* scratch) const override {
    if (param == 1) {
      return bias_chunks_.template sum_columns<T>(io.dy + tile.columns.begin, filters_, rows, tile.size(), g, add,
                                                  scratch);
    }
    T* const rest = scratch + chunks_.template scratch<T>(tile.size());
    chunks_.sum_pieces(rows, tile.size(), g, add, scratch, [&](Rows at, Chain chain, T* to) {
      const std::int64_t i = at.begin / positions_;
      const Rows part{at.begin - i * positions_, at.end - i * positions_};
      const T *const x = io.x[0] + i * in_, *const delta = io.dy + i * positions_ * filters_;
      if (rounds_) return gradient_by_panels(x, delta, part, tile, chain == Chain::kGoesOn, to, rest);
      products_.gradient(x, delta, part, tile, chain == Chain::kGoesOn, to, rest);
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
  const Products<T>& products() const { return kernels<T>().products[static_cast<int>(compute_)]; }
  std::int64_t depth() const { return panels_.depth(); }
  std::int64_t group_filters() const { return filters_ / groups_; }
  std::int64_t piece() const { return std::min(positions_, BatchChunks::kPositions); }
  bool keeps_z() const { return function_ != Activation::kLinear && activation_keeps_z(function_); }

  // On the way back the columns of a product are the channels of a position, or with panels what a row of the window
  // sees: the fewer channels, the more of a vector of 16 is empty. A value of a panel is stored, and added to the
  // image, which takes as long as some 6 terms of its sum.
  bool giving_pays(const Windows& windows) const {
    if (products_.lanes()) return false;
    constexpr std::int64_t kLanes = 16, kTerms = 6;
    const Windows::Axis &rows = windows.rows, &columns = windows.columns;
    const std::int64_t channels = windows.channels / groups_;
    const auto vectors = [](std::int64_t n) { return static_cast<double>((n + kLanes - 1) / kLanes); };
    const bool whole = groups_ == 1 && columns.dilation == 1;
    const double of_panels =
        static_cast<double>(positions_ * (group_filters() + kTerms) * rows.taps) *
        (whole ? vectors(columns.taps * channels) : static_cast<double>(columns.taps) * vectors(channels));
    const double seen = static_cast<double>(rows.in * columns.in * windows.taps() * group_filters()) /
                        static_cast<double>(rows.stride * columns.stride);
    return of_panels < seen * vectors(channels);
  }

  void find_delta(const Io<T>& io, Rows rows) const {
    if (function_ == Activation::kLinear) return;
    const std::int64_t offset = rows.begin * positions_ * filters_, n = rows.count() * positions_ * filters_;
    const T* const kept = (keeps_z() ? io.saved : io.y) + offset;
    kernels<T>().activate_back[static_cast<int>(function_)](kept, io.dy + offset, io.dy + offset, n, alpha_);
  }

  // ---- by panels ----------------------------------------------------------------------------------------------------

  // Of the most rows of a panel, and of one group; arrays are to be filled in.
  Matmul<T> forward_product() const {
    Matmul<T> p{};
    p.m = panel_rows_, p.n = group_filters(), p.k = p.lda = depth();
    p.ldb = p.ldc = filters_;
    return p;
  }
  Matmul<T> backward_product() const {
    Matmul<T> p{};
    p.m = panel_rows_, p.n = p.ldb = p.ldc = depth(), p.k = group_filters();
    p.lda = filters_;
    return p;
  }
  Matmul<T> gradient_product(const Tile& tile) const {
    Matmul<T> p{};
    p.m = p.lda = tile.rows.count(), p.k = piece();
    p.n = std::min(tile.columns.count(), group_filters());
    p.a_transposed = true;
    p.ldb = filters_, p.ldc = tile.columns.count();
    return p;
  }
  void run(Matmul<T>& p, T* scratch) const {
    p.scratch = scratch;
    products().run(p);
  }
  // The next panel_rows_ positions, or fewer.
  Rows part_from(std::int64_t position) const { return {position, std::min(position + panel_rows_, positions_)}; }

  void forward_by_panels(const T* x, const T* w, const T* bias, T* z, T* scratch) const {
    const Padded& padded = panels_.image();
    const T* const image = padded.look(x, {0, padded.height()}, scratch);
    T *const panel = scratch + align_up<T>(padded.size()), *const rest = panel + align_up<T>(panel_rows_ * depth());
    for (Rows part{0, 0}; part.end < positions_;) {
      part = part_from(part.end);
      for (std::int64_t g = 0; g < groups_; ++g) {
        panels_.fill(image, part, g, {0, depth()}, panel);
        Matmul<T> p = forward_product();
        p.m = part.count();
        p.a = panel;
        p.b = w + g * group_filters();
        p.c = z + part.begin * filters_ + g * group_filters();
        p.bias = bias == nullptr ? nullptr : bias + g * group_filters();
        run(p, rest);
      }
    }
  }

  void backward_by_panels(const T* delta, const T* turned, T* dx, bool add, T* scratch) const {
    const Padded& padded = panels_.image();
    const bool direct = padded.is_plain() && !add;
    T* const image = direct ? dx : scratch;
    T *const panel = scratch + align_up<T>(padded.size()), *const rest = panel + align_up<T>(panel_rows_ * depth());
    std::fill_n(image, padded.size(), T(0));
    for (Rows part{0, 0}; part.end < positions_;) {
      part = part_from(part.end);
      for (std::int64_t g = 0; g < groups_; ++g) {
        Matmul<T> p = backward_product();
        p.m = part.count();
        p.a = delta + part.begin * filters_ + g * group_filters();
        p.b = turned + g * group_filters() * depth();
        p.c = panel;
        run(p, rest);
        panels_.give(panel, part, g, image);
      }
    }
    if (!direct) padded.take(image, dx, add);
  }

  void gradient_by_panels(const T* x, const T* delta, Rows part, const Tile& tile, bool goes_on, T* to,
                          T* scratch) const {
    const Padded& padded = panels_.image();
    const T* const image = padded.look(x, {0, padded.height()}, scratch);
    T* const panel = scratch + align_up<T>(padded.size());
    for (std::int64_t j = tile.columns.begin; j < tile.columns.end;) {
      const std::int64_t g = j / group_filters();
      panels_.fill(image, part, g, tile.rows, panel);
      Matmul<T> p = gradient_product(tile);
      p.n = std::min((g + 1) * group_filters(), tile.columns.end) - j, p.k = part.count();
      p.a = panel;
      p.b = delta + part.begin * filters_ + j;
      p.c = to + j - tile.columns.begin;
      p.goes_on = goes_on;
      run(p, panel + align_up<T>(piece() * tile.rows.count()));
      j += p.n;
    }
  }

  BatchChunks chunks_, bias_chunks_;
  Panels<T> panels_;
  WindowProducts<T> products_;
  std::int64_t in_, positions_, filters_, groups_, panel_rows_ = 0;
  bool has_bias_;
  Compute compute_;
  bool rounds_, gives_;  // products by panels: all, those on the way back
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
  if (windows.are_pixels() && groups == 1) {
    return dense_op<T>(node.xs[0], {windows.channels, filters}, ws.size() == 2, false, node.compute);
  }
  return std::make_unique<Convolution<T>>(windows, std::move(shape), groups, depthwise, ws.size() == 2, node.compute);
}
BP_INSTANTIATE_MAKER(make_convolution)

}  // namespace bp
