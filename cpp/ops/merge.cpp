// add, subtract, multiply, divide, maximum, minimum: y = a op b, pointwise with NumPy's broadcasting over the axes of a
// sample.
//
//   add       da = dy                db = dy
//   subtract  da = dy                db = -dy
//   multiply  da = dy * b            db = dy * a
//   divide    da = dy / b            db = -(dy / b) * y
//   maximum   da = dy where a >= b   db = dy where a < b
//   minimum   da = dy where a <= b   db = dy where a > b
// then summed over the axes along which the operand was repeated. Kept: a, b (and y for divide).
#include "ops/op.h"

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
    const Shape shape = broadcast_shape(a, b, name);
    size_ = size_of(shape);
    run_ = shape.empty() ? 1 : shape.back();
    a_ = plan_broadcast(a, shape);
    b_ = plan_broadcast(b, shape);
    dense_ = plan_broadcast(shape, shape);
    this->sizes_.shape = shape;
    this->sizes_.flops = size_;
    this->facts_.keeps_probabilities = true;
    const bool straight = kind == Binary::kAdd || kind == Binary::kSubtract;
    this->facts_.differential = straight ? Differential::kAffine : Differential::kOwn;
  }

  std::int64_t scratch(std::int64_t rows) const override { return align_up<T>(rows * size_); }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const Rows rows = block.rows;
    apply(kind_, io.x[0] + rows.begin * size_a_, a_, size_a_, io.x[1] + rows.begin * size_b_, b_, size_b_,
          io.y + rows.begin * size_, rows.count());
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    const Rows rows = block.rows;
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

  // Operands one at a time, of any broadcasting: multiply a_t b + a b_t, divide (a_t - y b_t) / b, else the chosen
  // one's.
  void forward_tangent(const Io<T>& io, const Io<T>& t, Rows rows, T*) const override {
    each_value(rows, [&](std::int64_t i, std::int64_t ia, std::int64_t ib) {
      const T a = io.x[0][ia], b = io.x[1][ib], at = t.x[0][ia], bt = t.x[1][ib];
      t.y[i] = kind_ == Binary::kMultiply ? at * b + a * bt
               : kind_ == Binary::kDivide ? (at - io.y[i] * bt) / b
               : first(a, b)              ? at
                                          : bt;
    });
  }

  void backward_tangent(const Io<T>& io, const Io<T>& t, Rows rows, T*) const override {
    for (int side = 0; side < 2; ++side) {
      if (t.dx[side] == nullptr || io.add[side]) continue;
      const std::int64_t size = side == 0 ? size_a_ : size_b_;
      std::fill_n(t.dx[side] + rows.begin * size, rows.count() * size, T(0));
    }
    each_value(rows, [&](std::int64_t i, std::int64_t ia, std::int64_t ib) {
      const T a = io.x[0][ia], b = io.x[1][ib], at = t.x[0][ia], bt = t.x[1][ib], dy = io.dy[i], dyt = t.dy[i];
      T da = 0, db = 0;
      if (kind_ == Binary::kMultiply) {
        da = dyt * b + dy * bt, db = dyt * a + dy * at;
      } else if (kind_ == Binary::kDivide) {
        const T y = io.y[i], yt = t.y[i], q = dy / b, qt = (dyt - q * bt) / b;
        da = qt, db = -(qt * y + q * yt);
      } else {
        (first(a, b) ? da : db) = dyt;
      }
      if (t.dx[0] != nullptr) t.dx[0][ia] += da;
      if (t.dx[1] != nullptr) t.dx[1][ib] += db;
    });
  }

 private:
  bool first(T a, T b) const { return kind_ == Binary::kMaximum ? a >= b : a <= b; }

  // body(place in y, in a, in b)
  template <class Body> void each_value(Rows rows, Body body) const {
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      std::int64_t i = row * size_;
      for (std::size_t r = 0; r < a_.offset.size(); ++r) {
        for (std::int64_t k = 0; k < run_; ++k, ++i) {
          body(i, row * size_a_ + a_.offset[r] + k * a_.step, row * size_b_ + b_.offset[r] + k * b_.step);
        }
      }
    }
  }

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
        apply(Binary::kMultiply, dy, dense_, size_, side == 0 ? b : a, side == 0 ? b_ : a_,
              side == 0 ? size_b_ : size_a_, g, rows.count());
        break;
      case Binary::kDivide:
        apply(Binary::kDivide, dy, dense_, size_, b, b_, size_b_, g, rows.count());
        if (side == 1) {
          kernels<T>().binary[static_cast<int>(Binary::kMultiply)](g, 1, io.y + rows.begin * size_, 1, g, n);
          kernels<T>().scale(T(-1), g, n);
        }
        break;
      case Binary::kMaximum:
      case Binary::kMinimum: mask(dy, a, b, side, g, rows.count()); break;
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
          const T va = pa[i * a_.step], vb = pb[i * b_.step];
          const bool first = kind_ == Binary::kMaximum ? va >= vb : va <= vb;
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

struct Kind {
  const char* name;
  Binary function;
  bool chains;  // of any number of inputs, from left to right
};
constexpr Kind kKinds[] = {{"add", Binary::kAdd, true},           {"subtract", Binary::kSubtract, false},
                           {"multiply", Binary::kMultiply, true}, {"divide", Binary::kDivide, false},
                           {"maximum", Binary::kMaximum, true},   {"minimum", Binary::kMinimum, true}};

const Kind* find_kind(const std::string& op) {
  const auto* found =
      std::find_if(std::begin(kKinds), std::end(kKinds), [&](const Kind& kind) { return op == kind.name; });
  return found == std::end(kKinds) ? nullptr : found;
}

}  // namespace

template <class T> OpPtr<T> make_merge(const Node<T>& node) {
  node.expect(node.xs.size() == 2, node.op + " takes two inputs here, got " + std::to_string(node.xs.size()));
  return std::make_unique<Merge<T>>(find_kind(node.op)->function, node.xs[0], node.xs[1], node.name);
}
BP_INSTANTIATE_MAKER(make_merge)

// average: the sum, times one over their number.
template <class T> std::vector<NodeSpec<T>> in_pairs(NodeSpec<T> spec) {
  const bool average = spec.op == "average";
  const Kind* kind = find_kind(average ? "add" : spec.op);
  std::vector<NodeSpec<T>> chain;
  if (kind == nullptr || !kind->chains || (spec.inputs.size() == 2 && !average)) {
    chain.push_back(std::move(spec));
    return chain;
  }
  check(!spec.inputs.empty(), spec.name + ": a merge needs an input");
  const auto link = [&](const char* op, std::vector<int> inputs) {
    chain.push_back({op, spec.name, std::move(inputs), {}, {}, spec.compute});
  };
  for (std::size_t i = 1; i < spec.inputs.size(); ++i) link(kind->name, {i == 1 ? spec.inputs[0] : -1, spec.inputs[i]});
  const int sum = chain.empty() ? spec.inputs[0] : -2;
  if (!average) return chain;
  link("constant", {});
  chain.back().attributes["value"] = Array{{}, {static_cast<double>(T(1) / static_cast<T>(spec.inputs.size()))}};
  link("multiply", {sum, -1});
  return chain;
}
template std::vector<NodeSpec<float>> in_pairs(NodeSpec<float>);
template std::vector<NodeSpec<double>> in_pairs(NodeSpec<double>);

}  // namespace bp
