// The contract of an operation. All sizes are said before any data exists; the plan owns every buffer.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "kernels/table.h"

namespace bp {

// A layer or loss written by the user, behind a plain interface: the core does not know in which language.
template <class T> struct LayerCallback {
  virtual ~LayerCallback() = default;
  virtual void forward(const std::vector<const T*>& x, const std::vector<Shape>& x_shapes, std::int64_t n, bool training,
                       T* y) = 0;
  // Writes (never adds) the wanted dx; leaves parameter gradients where grad() points.
  virtual void backward(const T* dy, const std::vector<Shape>& x_shapes, std::int64_t n, const std::vector<T*>& dx) = 0;
  virtual const T* grad(int param) const = 0;
};

// What the graph says of a node: input to make_op.
template <class T> struct NodeSpec {
  std::string op, name;
  std::vector<int> inputs, params;
  Shape shape;                          // reshape, input, callback
  int axis = 0;                         // concatenate
  Activation function = Activation::kLinear;
  double alpha = 0;
  std::string mode;                     // of ops that come in several
  Compute compute = Compute::kFull;
  std::map<std::string, double> numbers;  // further constants, by name
  std::uint64_t seed = 0;               // of ops that draw random numbers
  std::vector<T> constant;
  std::shared_ptr<LayerCallback<T>> callback;

  double number(const char* key) const {  // 0 if it is not given
    const auto found = numbers.find(key);
    return found == numbers.end() ? 0 : found->second;
  }
};

// Where a node's arrays are. Sample r of an array begins at r * size elements.
template <class T> struct Io {
  std::vector<const T*> x;
  std::int64_t x_stride = 0;  // of x[0] in a relay: forward_depth, accumulate and descend heed it; 0: a sample's size
  T* y = nullptr;
  T* saved = nullptr;       // saved_size() a sample, from forward to backward
  T* dy = nullptr;          // complete when backward runs; backward may overwrite it
  std::vector<T*> dx;       // null: not wanted
  std::vector<char> add;    // dx[i] += instead of =
  std::vector<const T*> w;
  T* kept = nullptr;        // kept_size() in all, from forward to commit
  std::uint64_t draw = 0;   // which training batch this is: with seed and row, all that random numbers depend on
  bool training = false;
};

// Who runs an op: any thread any rows; every thread all rows but its share of the result's columns, between barriers; the
// same for an op whose columns need all rows (even one thread may not take the rows in parts); one thread the whole batch,
// between barriers. Bits do not depend on it.
enum class Partition { kRows, kColumns, kFeatures, kWhole };
inline bool by_columns(Partition p) { return p == Partition::kColumns || p == Partition::kFeatures; }
inline bool needs_all_rows(Partition p) { return p == Partition::kFeatures || p == Partition::kWhole; }

struct Tile {  // of a parameter
  Rows rows, columns;
  std::int64_t size() const { return rows.count() * columns.count(); }
};

template <class T> class Op {
 public:
  virtual ~Op() = default;
  virtual Partition partition(bool training) const { (void)training; return Partition::kRows; }
  virtual std::int64_t saved_size() const { return 0; }
  virtual std::int64_t kept_size() const { return 0; }
  virtual std::int64_t scratch_size(std::int64_t rows) const { (void)rows; return 0; }  // for one forward or backward call
  virtual std::int64_t flops() const { return 0; }                                      // a sample, forward
  virtual bool draws() const { return false; }  // reads io.draw
  virtual void forward(const Io<T>& io, Rows rows, T* scratch) const = 0;
  virtual void backward(const Io<T>& io, Rows rows, T* scratch) const = 0;

  // By columns: backward() is prepare_backward(), by rows, then backward_columns().
  virtual std::int64_t columns_forward() const { return 0; }
  virtual std::int64_t columns_backward() const { return 0; }
  virtual std::int64_t columns_scratch(std::int64_t rows) const { (void)rows; return 0; }
  virtual void forward_columns(const Io<T>& io, Rows rows, Rows columns, T* scratch) const {
    (void)io, (void)rows, (void)columns, (void)scratch;
  }
  virtual void prepare_backward(const Io<T>& io, Rows rows) const { (void)io, (void)rows; }
  virtual void backward_columns(const Io<T>& io, Rows rows, Rows columns, T* scratch) const {
    (void)io, (void)rows, (void)columns, (void)scratch;
  }

  // By depth, for the values whose sums run over the columns of x: the part of every sum over some of them, from where the
  // part before left it; the last part finishes. 0: not offered. soon: what the thread wants next, asked for on the way.
  virtual std::int64_t depth() const { return 0; }
  virtual std::int64_t depth_scratch(std::int64_t rows, Rows depth) const { (void)rows, (void)depth; return 0; }
  virtual void forward_depth(const Io<T>& io, Rows rows, Rows depth, const Runs& soon, T* scratch) const {
    (void)io, (void)rows, (void)depth, (void)soon, (void)scratch;
  }

  // Parameters, seen as (first axis, the others). The gradient of a tile over the batch goes to g, compact and row-major.
  // accumulate() is called after backward(), when io.dy holds what backward left there.
  virtual std::int64_t accumulate_scratch(int param, const Tile& tile, std::int64_t batch) const {
    (void)param, (void)tile, (void)batch;
    return 0;
  }
  virtual void accumulate(const Io<T>& io, int param, const Tile& tile, std::int64_t batch, T* g, bool add,
                          T* scratch) const {
    (void)io, (void)param, (void)tile, (void)batch, (void)g, (void)add, (void)scratch;
  }
  // The gradient straight into the weights: w -= rate * it, with the bits of accumulate() and the update, for a tile of any
  // height. w points at the tile, in the parameter. descends(): for batches up to so many samples; 0: not offered.
  virtual std::int64_t descends(int param) const { (void)param; return 0; }
  virtual std::int64_t descend_scratch(int param, const Tile& tile, std::int64_t batch) const {
    (void)param, (void)tile, (void)batch;
    return 0;
  }
  virtual void descend(const Io<T>& io, int param, const Tile& tile, std::int64_t batch, T rate, T* w, T* scratch) const {
    (void)io, (void)param, (void)tile, (void)batch, (void)rate, (void)w, (void)scratch;
  }
  // After a training batch without a flaw, beside the update: running statistics. w are the op's parameters, n samples.
  virtual void commit(const Io<T>& io, std::int64_t n, const std::vector<T*>& w) const { (void)io, (void)n, (void)w; }
  // Takes over the pointwise activation that follows; false if the op cannot.
  virtual bool fuse_activation(Activation f, T alpha) {
    (void)f, (void)alpha;
    return false;
  }

  Shape shape;  // of one output sample
};

// Sums over the batch restart their chain every so many rows: single precision would lose the tail of a long sum. The
// number belongs to the numerics contract; it depends on nothing.
constexpr std::int64_t kBatchChunk = 1024;

// One row of ops/table.cpp per operation; throws BadInput when shapes do not fit. xs: shapes of the inputs, ws: of the
// parameters.
template <class T>
std::unique_ptr<Op<T>> make_op(const NodeSpec<T>& spec, const std::vector<Shape>& xs, const std::vector<Shape>& ws);

std::string to_string(const Shape& shape);

}  // namespace bp
