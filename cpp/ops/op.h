// The contract of an operation. All sizes are said before any data exists; the plan owns every buffer.
//
// An op says its sizes and facts when it is made, and computes forward, backward and the gradients of its parameters
// for whatever part it is asked: it starts no threads, allocates nothing and keeps nothing.
#pragma once

#include <atomic>
#include <limits>

#include "ops/batch_sum.h"
#include "ops/node.h"

namespace bp {

template <class T> class Lookup;
template <class T> class Product;

// A layer or loss written by the user, behind a plain interface: the core does not know in which language.
template <class T> struct UserLayer {
  virtual ~UserLayer() = default;
  virtual void forward(const std::vector<const T*>& x, const std::vector<Shape>& x_shapes, std::int64_t n,
                       bool training, T* y) = 0;
  // Writes (never adds) the wanted dx; leaves parameter gradients where grad() points.
  virtual void backward(const T* dy, const std::vector<Shape>& x_shapes, std::int64_t n, const std::vector<T*>& dx) = 0;
  virtual const T* grad(int param) const = 0;
};

// What an op needs room for, in elements.
struct Sizes {
  Shape shape;                // of one output sample
  std::int64_t saved = 0;     // a sample, from forward until its gradients are accumulated; backward may overwrite it
  std::int64_t kept = 0;      // of the batch in all, from forward to commit
  std::int64_t carried = 0;   // a sample, from batch to batch; it belongs to the caller
  std::int64_t features = 0;  // columns that an op by features may be divided into
  std::int64_t flops = 0;     // a sample, forward
  std::int64_t together =
      1;  // samples that a call should have: fewer at once take longer, as it reads all weights for them
};

enum class Role {
  kComputes,
  kInput,     // holds data of the caller
  kTarget,    // holds the target of an output
  kConstant,  // is the same for every sample
  kAlias,     // is the memory of its input, seen in another shape
};

// Who runs an op: any thread any samples; every thread all samples but its share of the result's columns, between
// barriers (the plan's choice for large products); the same by features, for an op whose columns need all samples (even
// one thread may not take them in parts); one thread the whole batch, between barriers. Bits do not depend on it.
enum class Partition { kRows, kColumns, kFeatures, kWhole };
inline bool by_columns(Partition p) { return p == Partition::kColumns || p == Partition::kFeatures; }
inline bool needs_all_rows(Partition p) { return p == Partition::kFeatures || p == Partition::kWhole; }

// What the values are to a cross entropy, which takes the inputs of the last three in their place (delta = p - t).
enum class Ending { kPlain, kActivated, kSigmoid, kSoftmax, kLogSoftmax };
inline bool is_probability(Ending ending) { return ending >= Ending::kSigmoid; }

// How the derivatives of an op are derived once more, for exact products with the Hessian (in use, not in training).
// kAffine: forward is affine in its inputs and, for fixed inputs, in its trained parameters; what follows from that is
// found by its own forward, backward and accumulate. kOwn: by its tangent functions.
enum class Differential { kNone, kAffine, kOwn };

// What others ask of an op; nobody asks for its name.
struct Facts {
  Role role = Role::kComputes;
  Partition partition = Partition::kRows;
  bool rows_in_use = false;  // the partition is that of training, outside of which it is kRows
  bool draws = false;        // reads Io::draw
  bool ids = false;          // its values are whole numbers, as bits
  bool takes_ids = false;    // so are those of its inputs
  bool stops = false;        // no gradient goes back through it
  bool unlocks = false;      // the gradient of its first input is made of values alone
  Ending ending = Ending::kPlain;
  bool keeps_probabilities = false;           // of probabilities it makes probabilities
  Activation pointwise = Activation::kCount;  // the function of single values that it is, if it is one
  double alpha = 0;                           // and its slope or scale
  int output = -1;                            // of a target: whose
  bool stateful = false;  // what it carries goes on from batch to batch, not from window to window alone
  Differential differential = Differential::kNone;
  Compute compute = Compute::kFull;  // by which its products are made
  // A sample's gradient of a parameter is at most this multiple of |x| (or 1) |dy|. Infinite: unknown, and each update
  // is tried.
  double steepness = std::numeric_limits<double>::infinity();
};

// Where a node's arrays are. Sample r of an array begins at r times a sample's size.
template <class T> struct Io {
  std::vector<const T*> x;
  T* y = nullptr;
  T* saved = nullptr;                    // null where nothing is to be kept for backward
  const T* carried = nullptr;            // where samples begin; null: there is no batch before
  T* carries = nullptr;                  // where they end, for the batch behind; null: not wanted
  const T* dcarries = nullptr;           // dL/d of where they end; null: 0
  T* dcarried = nullptr;                 // dL/d of where they begin; null: not wanted
  const std::int64_t* length = nullptr;  // of each sample's sequence; null: all of it
  T* dy = nullptr;        // complete when backward runs; backward may overwrite it, and accumulate finds it so
  std::vector<T*> dx;     // null: not wanted
  std::vector<char> add;  // dx[i] += instead of =
  std::vector<const T*> w;
  std::vector<const T*> w_back;  // what backward takes for w: w itself, or other values of its shape
  T* kept = nullptr;
  std::uint64_t draw = 0;  // which training batch this is: with seed and row, all that random numbers depend on
  bool training = false;
  // Samples of the training batch; a loss is their mean, so a gradient times it is that of a sample's own loss.
  const std::atomic<std::int64_t>* batch = nullptr;
};

struct Block {   // of a batch
  Rows rows;     // samples
  Rows columns;  // of the features, for an op by features; all of them for any other
};

// A part of a parameter, which is seen as a matrix (all axes but the last, the last); a vector is one row.
struct Tile {
  Rows rows, columns;
  std::int64_t size() const { return rows.count() * columns.count(); }
};

template <class T> class Op {
 public:
  virtual ~Op() = default;
  const Sizes& sizes() const { return sizes_; }
  const Facts& facts() const { return facts_; }
  Partition partition(bool training) const {
    return training || !facts_.rows_in_use ? facts_.partition : Partition::kRows;
  }

  // Scratch is enough for as many rows, and for fewer.
  virtual std::int64_t scratch(std::int64_t rows) const {
    (void)rows;
    return 0;
  }  // of one forward or backward call
  virtual void forward(const Io<T>& io, const Block& block, T* scratch) const = 0;
  virtual void backward(const Io<T>& io, const Block& block, T* scratch) const = 0;

  // The gradient of a parameter's tile, summed over some samples, goes to g, compact and row-major. Called after
  // backward() of these samples. An op that runs on the whole batch gives the sum over the whole batch only.
  virtual std::int64_t accumulate_scratch(int param, const Tile& tile, std::int64_t rows) const {
    (void)param, (void)tile, (void)rows;
    return 0;
  }
  virtual void accumulate(const Io<T>& io, int param, const Tile& tile, Rows rows, T* g, bool add, T* scratch) const {
    (void)io, (void)param, (void)tile, (void)rows, (void)g, (void)add, (void)scratch;
  }
  // The derivatives of forward, backward and accumulate in a direction: t has the arrays of io, for derivatives. t.x
  // and t.w (null: 0) lead to t.y; t.dy to t.dx, before backward() of these rows, which may overwrite dy; g is of the
  // whole parameter.
  virtual void forward_tangent(const Io<T>& io, const Io<T>& t, Rows rows, T* scratch) const {
    (void)io, (void)t, (void)rows, (void)scratch;
  }
  virtual void backward_tangent(const Io<T>& io, const Io<T>& t, Rows rows, T* scratch) const {
    (void)io, (void)t, (void)rows, (void)scratch;
  }
  virtual void accumulate_tangent(const Io<T>& io, const Io<T>& t, int param, Rows rows, T* g, bool add) const {
    (void)io, (void)t, (void)param, (void)rows, (void)g, (void)add;
  }
  // After a training batch without a flaw, beside the update: running statistics. w are the op's parameters, n samples.
  virtual void commit(const Io<T>& io, std::int64_t n, const std::vector<T*>& w) const { (void)io, (void)n, (void)w; }

  // Takes over what follows, of which this is the only input; false if the op cannot.
  virtual bool fuse(const Op& next) {
    (void)next;
    return false;
  }
  // Forward, backward and the gradient of its first parameter as a matrix product each (ops/product.h), to be divided
  // by rows, columns, depth and tiles; null if they are none.
  virtual const Product<T>* as_product() const { return nullptr; }
  // The gradient of its first parameter by the rows that a batch touches (ops/lookup.h); null if it touches all.
  virtual const Lookup<T>* as_lookup() const { return nullptr; }

 protected:
  Sizes sizes_;
  Facts facts_;
};

}  // namespace bp
