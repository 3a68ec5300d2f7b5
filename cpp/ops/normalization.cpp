// normalization: each sample alone, over sets of its values: layer (Ba, Kiros, Hinton 2016), group (Wu, He 2018) and
// root mean square normalization (Zhang, Sennrich 2019).
//
//   a sample is (S, P, G, W): for each s and g the P x W values are one set; gamma, beta (G W, optional)
//     layer, rms: the last axes are one set: P = G = 1, W their product
//     group: S = 1, P positions, G groups of W channels
//   u = (x - m) / sqrt(v + epsilon), m the set's mean (0 for rms), v the mean of (x - m)^2;  y = u gamma + beta
//   g = dy gamma;  dx = (g - mean(g) - u mean(g u)) / sqrt(v + epsilon)  (rms: without mean(g))
//   dgamma = sum of dy u, dbeta = sum of dy, over N, S, P
// Kept: u, and 1 / sqrt(v + epsilon) of each set. Flops a sample: about 8 an element, 10 back.
#include "ops/op.h"

#include <algorithm>
#include <cmath>

namespace bp {
namespace {

struct Geometry {
  std::int64_t outer, positions, groups, width;
};

template <class T> class Normalization final : public Op<T> {
 public:
  Normalization(const Shape& x, Geometry geometry, BatchChunks chunks, bool centred, bool scale, bool center,
                double epsilon, std::int64_t columns)
      : g_(geometry), chunks_(chunks), row_(g_.groups * g_.width), size_(size_of(x)), sets_(g_.outer * g_.groups),
        centred_(centred), gamma_(scale ? 0 : -1), beta_(center ? (scale ? 1 : 0) : -1),
        epsilon_(static_cast<T>(epsilon)), columns_(columns) {
    this->sizes_.shape = x;
    this->sizes_.saved = size_ + sets_;
    this->sizes_.flops = 8 * size_;
    this->facts_.differential = Differential::kOwn;
    this->facts_.steepness = std::max(1.0, 2 / std::sqrt(epsilon));  // |x - m| / sqrt(v + epsilon)
  }
  std::int64_t scratch(std::int64_t) const override { return size_ + sets_; }

  void forward(const Io<T>& io, const Block& block, T* scratch) const override {
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      const T* x = io.x[0] + r * size_;
      T* u = io.saved != nullptr ? io.saved + r * (size_ + sets_) : scratch;
      each_set([&](std::int64_t k, std::int64_t offset, std::int64_t) {
        u[size_ + k] = kernels<T>().normalize_set(x + offset, u + offset, set(), centred_, epsilon_);
      });
      kernels<T>().affine_rows(u, io.y + r * size_, row_, g_.outer * g_.positions, row_, nullptr,
                               gamma_ < 0 ? nullptr : io.w[0],
                               beta_ < 0 ? nullptr : io.w[static_cast<std::size_t>(beta_)]);
    }
  }

  void backward(const Io<T>& io, const Block& block, T*) const override {
    if (io.dx[0] == nullptr) return;
    for (std::int64_t r = block.rows.begin; r < block.rows.end; ++r) {
      const T *u = io.saved + r * (size_ + sets_), *dy = io.dy + r * size_;
      T* dx = io.dx[0] + r * size_;
      each_set([&](std::int64_t k, std::int64_t offset, std::int64_t channel) {
        const T* gamma = gamma_ < 0 ? nullptr : io.w_back[0] + channel;
        kernels<T>().normalize_set_back(u + offset, dy + offset, gamma, dx + offset, set(), centred_, u[size_ + k],
                                        io.add[0]);
      });
    }
  }

  std::int64_t accumulate_scratch(int, const Tile& tile, std::int64_t) const override {
    return std::max(tile.size(), chunks_.template scratch<T>(tile.size()));
  }

  void accumulate(const Io<T>& io, int param, const Tile& tile, Rows rows, T* g, bool add, T* scratch) const override {
    if (tile.columns.count() == columns_) {
      return accumulate(io, param, tile.rows.begin * columns_, tile.size(), rows, g, add, scratch);
    }
    for (std::int64_t row = tile.rows.begin; row < tile.rows.end; ++row, g += tile.columns.count()) {
      accumulate(io, param, row * columns_ + tile.columns.begin, tile.columns.count(), rows, g, add, scratch);
    }
  }

  // u_t = (x_t - mean(x_t) - u mean(u x_t)) / sqrt(v + epsilon), in t.saved;  y_t = u_t gamma + u gamma_t + beta_t
  void forward_tangent(const Io<T>& io, const Io<T>& t, Rows rows, T*) const override {
    for (std::int64_t r = rows.begin; r < rows.end; ++r) {
      const T* u = io.saved + r * (size_ + sets_);
      T* ut = t.saved + r * (size_ + sets_);
      each_set([&](std::int64_t k, std::int64_t offset, std::int64_t) {
        kernels<T>().normalize_set_back(u + offset, t.x[0] + r * size_ + offset, nullptr, ut + offset, set(), centred_,
                                        u[size_ + k], false);
      });
      for (std::int64_t i = 0; i < size_; ++i) {
        const T gamma = of(io, gamma_, i, T(1));
        t.y[r * size_ + i] = ut[i] * gamma + u[i] * of(t, gamma_, i, T(0)) + of(t, beta_, i, T(0));
      }
    }
  }

  void backward_tangent(const Io<T>& io, const Io<T>& t, Rows rows, T*) const override {
    for (std::int64_t r = rows.begin; r < rows.end && t.dx[0] != nullptr; ++r) {
      const T *u = io.saved + r * (size_ + sets_), *ut = t.saved + r * (size_ + sets_);
      const T *dy = io.dy + r * size_, *dyt = t.dy + r * size_, *xt = t.x[0] + r * size_;
      T* dx = t.dx[0] + r * size_;
      each_set([&](std::int64_t k, std::int64_t offset, std::int64_t) {
        const auto each = [&](auto body) {
          for (std::int64_t p = 0; p < g_.positions; ++p) {
            for (std::int64_t w = 0; w < g_.width; ++w) body(offset + p * row_ + w);
          }
        };
        const auto g = [&](std::int64_t i) { return dy[i] * of(io, gamma_, i, T(1)); };
        const auto gt = [&](std::int64_t i) {
          return dyt[i] * of(io, gamma_, i, T(1)) + dy[i] * of(t, gamma_, i, T(0));
        };
        const T inverse = u[size_ + k], share = T(1) / static_cast<T>(g_.positions * g_.width);
        T mean = 0, mean_t = 0, dot = 0, dot_t = 0, slope = 0;
        each([&](std::int64_t i) {
          mean += g(i), mean_t += gt(i), dot += g(i) * u[i], dot_t += gt(i) * u[i] + g(i) * ut[i],
              slope += u[i] * xt[i];
        });
        if (!centred_) mean = mean_t = 0;
        each([&](std::int64_t i) {
          const T back = g(i) - mean * share - u[i] * dot * share;
          const T back_t = gt(i) - mean_t * share - ut[i] * dot * share - u[i] * dot_t * share;
          const T d = inverse * (back_t - inverse * slope * share * back);
          dx[i] = io.add[0] ? dx[i] + d : d;
        });
      });
    }
  }

  void accumulate_tangent(const Io<T>& io, const Io<T>& t, int param, Rows rows, T* to, bool add) const override {
    if (!add) std::fill_n(to, row_, T(0));
    for (std::int64_t r = rows.begin; r < rows.end; ++r) {
      const T *u = io.saved + r * (size_ + sets_), *ut = t.saved + r * (size_ + sets_);
      const T *dy = io.dy + r * size_, *dyt = t.dy + r * size_;
      for (std::int64_t i = 0; i < size_; ++i) {
        to[i % row_] += param == beta_ ? dyt[i] : dyt[i] * u[i] + dy[i] * ut[i];
      }
    }
  }

 private:
  // The parameter's value at place i of a sample.
  T of(const Io<T>& io, int param, std::int64_t i, T none) const {
    return param < 0 || io.w[static_cast<std::size_t>(param)] == nullptr
               ? none
               : io.w[static_cast<std::size_t>(param)][i % row_];
  }

  void accumulate(const Io<T>& io, int param, std::int64_t begin, std::int64_t n, Rows rows, T* g, bool add,
                  T* scratch) const {
    const std::int64_t positions = g_.outer * g_.positions;
    if (param == beta_) {
      return chunks_.sum_columns(io.dy + begin, row_, rows, n, g, add, scratch);
    }
    for (std::int64_t first = rows.begin; first < rows.end; first += BatchChunks::kRows) {
      const bool starts = first == rows.begin && !add;
      T* sum = starts ? g : scratch;
      for (std::int64_t r = first; r < std::min(first + BatchChunks::kRows, rows.end);
           ++r) {  // between samples u has gaps
        kernels<T>().column_dot(io.saved + r * (size_ + sets_) + begin, nullptr, io.dy + r * size_ + begin, row_, sum,
                                positions, n, 0, adding(r > first));
      }
      if (!starts) kernels<T>().axpy(T(1), scratch, g, n);
    }
  }

  SetShape set() const { return {g_.positions, g_.width, row_}; }
  // body(number of the set, its offset in the sample, its first channel)
  template <class Body> void each_set(Body body) const {
    for (std::int64_t s = 0; s < g_.outer; ++s) {
      for (std::int64_t g = 0; g < g_.groups; ++g) {
        body(s * g_.groups + g, s * g_.positions * row_ + g * g_.width, g * g_.width);
      }
    }
  }

  Geometry g_;
  BatchChunks chunks_;
  std::int64_t row_, size_, sets_;
  bool centred_;
  int gamma_, beta_;
  T epsilon_;
  std::int64_t columns_;  // the last axis of gamma and beta
};

}  // namespace

template <class T> OpPtr<T> make_normalization(const Node<T>& node) {
  const Shapes &xs = node.xs, &ws = node.ws;
  node.expect(xs.size() == 1 && !xs[0].empty(), "expected one input of rank 1 or more");
  const std::int64_t size = size_of(xs[0]), groups = node.integer("groups", 0), axes = node.integer("axes", 1);
  node.expect(size > 0, "nothing to normalize");
  Geometry geometry{};
  if (groups > 0) {
    const std::int64_t channels = xs[0].back();
    node.expect(channels % groups == 0, "the channels do not divide into the groups");
    geometry = {1, size / channels, groups, channels / groups};
  } else {
    std::int64_t width = 1;
    node.expect(axes >= 1 && axes <= static_cast<std::int64_t>(xs[0].size()), "a wrong number of axes");
    for (std::int64_t i = 0; i < axes; ++i) width *= xs[0][xs[0].size() - 1 - static_cast<std::size_t>(i)];
    geometry = {size / width, 1, 1, width};
  }
  const bool scale = node.flag("scale"), center = node.flag("center");
  node.expect(ws.size() == std::size_t{0} + scale + center, "a wrong number of parameters");
  for (const Shape& w : ws) {
    node.expect(size_of(w) == geometry.groups * geometry.width && w == ws[0], "a parameter does not fit");
  }
  // The axes that gamma does not have are positions.
  const bool all_axes = static_cast<std::int64_t>(xs[0].size()) == (groups > 0 ? 1 : axes);
  const std::int64_t columns = geometry.groups * geometry.width;
  const BatchChunks chunks(all_axes ? Shape{columns} : Shape{size / columns, columns});
  return std::make_unique<Normalization<T>>(xs[0], geometry, chunks, node.flag("centred"), scale, center,
                                            node.number("epsilon"), ws.empty() ? 1 : ws[0].back());
}
BP_INSTANTIATE_MAKER(make_normalization)

}  // namespace bp
