// pooling: the largest value of each window, or the mean of those that lie in x, channel by channel.
//
//   x (N, H, W, C)  y (N, P, Q, C); of sequences x (N, T, C), y (N, Q, C)
//   mean   y = sum of what the window sees of x, in the order of taps, / n;  dx += dy / n at each of the n positions
//   most   y = max of what the window sees of x;  dx += dy at the first tap that has it
// dx adds its windows in the order of positions. Kept: x, y. Flops a sample: P Q R S C.
#include "ops/windows.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Pooling final : public Op<T> {
 public:
  Pooling(const Windows& windows, Shape shape, bool most) : windows_(windows), most_(most) {
    this->sizes_.shape = std::move(shape);
    this->sizes_.flops = checked_mul(checked_mul(windows.positions(), windows.taps()), windows.channels);
    if (!most) this->facts_.differential = Differential::kAffine;
    const Windows::Axis& columns = windows.columns;
    while (inside_.begin < columns.out() && !taps_inside(columns, inside_.begin).whole) ++inside_.begin;
    inside_.end = inside_.begin;
    while (inside_.end < columns.out() && taps_inside(columns, inside_.end).whole) ++inside_.end;
  }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const auto pool = most_ ? kernels<T>().pool_most : kernels<T>().pool_mean;
    each_run(io, block.rows, [&](Pool<T>& p, std::int64_t, std::int64_t y) { pool(p, io.y + y); });
  }

  void backward(const Io<T>& io, const Block& block, T*) const override {
    if (io.dx[0] == nullptr) return;
    const std::int64_t in = windows_.in_size();
    const bool tiled = tiles(windows_.rows) && tiles(windows_.columns);
    if (!io.add[0] && !tiled) std::fill_n(io.dx[0] + block.rows.begin * in, block.rows.count() * in, T(0));
    const auto back = most_ ? kernels<T>().pool_most_back : kernels<T>().pool_mean_back;
    each_run(io, block.rows, [&](Pool<T>& p, std::int64_t x, std::int64_t y) {
      p.add = io.add[0] || !(apart(windows_.rows) && apart(windows_.columns));
      back(p, io.dy + y, io.dx[0] + x);
    });
  }

 private:
  // Windows that do not overlap; and that see each input position once.
  static bool apart(const Windows::Axis& axis) { return axis.stride >= axis.taps; }
  static bool tiles(const Windows::Axis& axis) {
    return axis.stride == axis.taps && axis.first(axis.out() - 1) + axis.taps >= axis.in;
  }

  struct Taps {
    Rows seen;
    bool whole;
  };
  static Taps taps_inside(const Windows::Axis& axis, std::int64_t out) {
    const std::int64_t first = axis.first(out);
    const Rows seen{std::clamp(-first, std::int64_t(0), axis.taps),
                    std::clamp(axis.in - first, std::int64_t(0), axis.taps)};
    return {seen, seen.count() == axis.taps};
  }

  // run(p, x, y): windows beside each other that see equally many taps, the first of which begins at x and y.
  template <class Run> void each_run(const Io<T>& io, Rows samples, Run run) const {
    const Windows::Axis &rows = windows_.rows, &columns = windows_.columns;
    const std::int64_t c = windows_.channels;
    Pool<T> p{};
    p.n = c;
    p.x_row = columns.stride * c, p.row_step = columns.in * c, p.step = c;
    for (std::int64_t i = samples.begin; i < samples.end; ++i) {
      for (std::int64_t row = 0; row < rows.out(); ++row) {
        const Rows down = taps_inside(rows, row).seen;
        p.rows = down.count();
        for (std::int64_t column = 0; column < columns.out(); column += p.m) {
          const Rows across = taps_inside(columns, column).seen;
          p.columns = across.count();
          p.m = column == inside_.begin && inside_.count() > 0 ? inside_.count() : 1;
          p.factor = T(1) / static_cast<T>(p.rows * p.columns);
          const std::int64_t x =
              i * windows_.in_size() +
              ((rows.first(row) + down.begin) * columns.in + columns.first(column) + across.begin) * c;
          const std::int64_t y = (i * windows_.positions() + row * columns.out() + column) * c;
          p.x = io.x[0] + x, p.y = io.y + y;
          run(p, x, y);
        }
      }
    }
  }

  Windows windows_;
  bool most_;
  Rows inside_{0, 0};  // output columns whose windows see no padding beside them
};

}  // namespace

template <class T> OpPtr<T> make_pooling(const Node<T>& node) {
  const Windows windows = read_windows(node, node.integers("window"));
  for (const Windows::Axis& axis : {windows.rows, windows.columns}) {
    node.expect(axis.before < axis.reach() && axis.after < axis.reach() && axis.dilation == 1,
                "a window would see nothing but padding");
  }
  Shape shape{windows.columns.out(), windows.channels};
  if (node.xs[0].size() == 3) shape.insert(shape.begin(), windows.rows.out());
  return std::make_unique<Pooling<T>>(windows, std::move(shape), node.flag("most"));
}
BP_INSTANTIATE_MAKER(make_pooling)

}  // namespace bp
