// add, subtract, multiply, divide, maximum: y = a op b, pointwise with NumPy's broadcasting over the axes of a sample.
//
//   add       da = dy                db = dy
//   subtract  da = dy                db = -dy
//   multiply  da = dy * b            db = dy * a
//   divide    da = dy / b            db = -(dy / b) * y
//   maximum   da = dy where a >= b   db = dy where a < b
// then summed over the axes along which the operand was repeated. Kept: a, b (and y for divide).
#include "ops/makers.h"

#include <algorithm>

namespace bp {
namespace {

// Runs over one output sample as (outer axes) x (inner run), with the operand's offset for each run.
struct Broadcast {
  std::vector<std::int64_t> offset;  // of each inner run in the operand
  int step = 1;                      // 0: the operand repeats along the run
  bool whole = false;                // the operand has the output's shape
};

Shape broadcast_shape(const Shape& a, const Shape& b, const std::string& name) {
  Shape out(std::max(a.size(), b.size()), 1);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t ea = i < a.size() ? a[a.size() - 1 - i] : 1, eb = i < b.size() ? b[b.size() - 1 - i] : 1;
    check(ea == eb || ea == 1 || eb == 1, name + ": cannot broadcast " + to_string(a) + " with " + to_string(b));
    out[out.size() - 1 - i] = ea == 1 ? eb : ea;
  }
  return out;
}

Broadcast plan_broadcast(const Shape& x, const Shape& out) {
  Broadcast plan;
  plan.whole = x == out;
  const std::size_t pad = out.size() - x.size();
  std::vector<std::int64_t> stride(out.size(), 0);
  std::int64_t size = 1;
  for (std::size_t i = x.size(); i-- > 0;) {
    stride[i + pad] = x[i] == 1 ? 0 : size;
    size *= x[i];
  }
  const std::int64_t run = out.empty() ? 1 : out.back();
  plan.step = out.empty() || stride.back() == 0 ? 0 : 1;
  const std::int64_t runs = run == 0 ? 0 : size_of(out) / run;
  for (std::int64_t r = 0; r < runs; ++r) {
    std::int64_t rest = r, at = 0;
    for (std::size_t axis = out.size() - std::min<std::size_t>(out.size(), 1); axis-- > 0;) {
      at += rest % out[axis] * stride[axis];
      rest /= out[axis];
    }
    plan.offset.push_back(at);
  }
  return plan;
}

template <class T> class Merge final : public Op<T> {
 public:
  Merge(Binary kind, const Shape& a, const Shape& b, const std::string& name)
      : kind_(kind), size_a_(size_of(a)), size_b_(size_of(b)) {
    this->shape = broadcast_shape(a, b, name);
    size_ = size_of(this->shape);
    run_ = this->shape.empty() ? 1 : this->shape.back();
    a_ = plan_broadcast(a, this->shape);
    b_ = plan_broadcast(b, this->shape);
    dense_ = plan_broadcast(this->shape, this->shape);
  }

  std::int64_t flops() const override { return size_; }
  std::int64_t scratch_size(std::int64_t rows) const override { return align_up<T>(rows * size_); }

  void forward(const Io<T>& io, Rows rows, T*) const override {
    apply(kind_, io.x[0] + rows.begin * size_a_, a_, size_a_, io.x[1] + rows.begin * size_b_, b_, size_b_,
          io.y + rows.begin * size_, rows.count());
  }

  void backward(const Io<T>& io, Rows rows, T* scratch) const override {
    for (int side = 0; side < 2; ++side) {
      if (io.dx[side] == nullptr) continue;
      const Broadcast& plan = side == 0 ? a_ : b_;
      const std::int64_t size_x = side == 0 ? size_a_ : size_b_;
      T* dx = io.dx[side] + rows.begin * size_x;
      const bool direct = plan.whole && !io.add[side];
      gradient(io, rows, side, direct ? dx : scratch);
      if (direct) continue;
      if (plan.whole) {
        kernels<T>().axpy(T(1), scratch, dx, rows.count() * size_);
      } else {
        reduce(scratch, plan, size_x, dx, io.add[side], rows.count());
      }
    }
  }

 private:
  void apply(Binary kind, const T* a, const Broadcast& pa, std::int64_t size_a, const T* b, const Broadcast& pb,
             std::int64_t size_b, T* y, std::int64_t rows) const {
    const auto kernel = kernels<T>().binary[static_cast<int>(kind)];
    if (pa.whole && pb.whole) return kernel(a, 1, b, 1, y, rows * size_);
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::size_t r = 0; r < pa.offset.size(); ++r) {
        kernel(a + row * size_a + pa.offset[r], pa.step, b + row * size_b + pb.offset[r], pb.step, y, run_);
        y += run_;
      }
    }
  }

  // d of one operand, before the sum over repeated axes, for all rows.
  void gradient(const Io<T>& io, Rows rows, int side, T* g) const {
    const T* dy = io.dy + rows.begin * size_;
    const T* a = io.x[0] + rows.begin * size_a_;
    const T* b = io.x[1] + rows.begin * size_b_;
    const std::int64_t n = rows.count() * size_;
    switch (kind_) {
      case Binary::kMultiply:
        apply(Binary::kMultiply, dy, dense_, size_, side == 0 ? b : a, side == 0 ? b_ : a_, side == 0 ? size_b_ : size_a_, g,
              rows.count());
        break;
      case Binary::kDivide:
        apply(Binary::kDivide, dy, dense_, size_, b, b_, size_b_, g, rows.count());
        if (side == 1) {
          kernels<T>().binary[static_cast<int>(Binary::kMultiply)](g, 1, io.y + rows.begin * size_, 1, g, n);
          kernels<T>().scale(T(-1), g, n);
        }
        break;
      case Binary::kMaximum:
        mask(dy, a, b, side, g, rows.count());
        break;
      default:
        std::copy_n(dy, n, g);
        if (kind_ == Binary::kSubtract && side == 1) kernels<T>().scale(T(-1), g, n);
    }
  }

  void mask(const T* dy, const T* a, const T* b, int side, T* g, std::int64_t rows) const {
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::size_t r = 0; r < a_.offset.size(); ++r) {
        const T* pa = a + row * size_a_ + a_.offset[r];
        const T* pb = b + row * size_b_ + b_.offset[r];
        for (std::int64_t i = 0; i < run_; ++i, ++dy, ++g) {
          const bool first = pa[i * a_.step] >= pb[i * b_.step];
          *g = first == (side == 0) ? *dy : T(0);
        }
      }
    }
  }

  void reduce(const T* g, const Broadcast& plan, std::int64_t size_x, T* dx, bool add, std::int64_t rows) const {
    if (!add) std::fill_n(dx, rows * size_x, T(0));
    for (std::int64_t row = 0; row < rows; ++row, dx += size_x) {
      for (std::int64_t offset : plan.offset) {
        for (std::int64_t i = 0; i < run_; ++i) dx[offset + i * plan.step] += *g++;
      }
    }
  }

  Binary kind_;
  std::int64_t size_a_, size_b_, size_, run_;
  Broadcast a_, b_, dense_;  // dense_: an array of the output's own shape
};

template <class T> OpPtr<T> make(Binary kind, const NodeSpec<T>& spec, const Shapes& xs) {
  check(xs.size() == 2, spec.name + ": " + spec.op + " takes two inputs here, got " + std::to_string(xs.size()));
  return std::make_unique<Merge<T>>(kind, xs[0], xs[1], spec.name);
}

}  // namespace

template <class T> OpPtr<T> make_add(const NodeSpec<T>& spec, const Shapes& xs, const Shapes&) {
  return make(Binary::kAdd, spec, xs);
}
template <class T> OpPtr<T> make_subtract(const NodeSpec<T>& spec, const Shapes& xs, const Shapes&) {
  return make(Binary::kSubtract, spec, xs);
}
template <class T> OpPtr<T> make_multiply(const NodeSpec<T>& spec, const Shapes& xs, const Shapes&) {
  return make(Binary::kMultiply, spec, xs);
}
template <class T> OpPtr<T> make_divide(const NodeSpec<T>& spec, const Shapes& xs, const Shapes&) {
  return make(Binary::kDivide, spec, xs);
}
template <class T> OpPtr<T> make_maximum(const NodeSpec<T>& spec, const Shapes& xs, const Shapes&) {
  return make(Binary::kMaximum, spec, xs);
}
BP_INSTANTIATE_MAKER(make_add)
BP_INSTANTIATE_MAKER(make_subtract)
BP_INSTANTIATE_MAKER(make_multiply)
BP_INSTANTIATE_MAKER(make_divide)
BP_INSTANTIATE_MAKER(make_maximum)

}  // namespace bp
