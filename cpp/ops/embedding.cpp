// embedding: a row of a table for every id.
//
//   x (N, ..) ids (ops/ids.h)   w (V, D)   y (N, .., D) = w[x]
//   dw[v] = sum of dy over samples and positions whose id is v; ids have no gradient. Of a batch only rows that are
//   touched have one (ops/lookup.h); `lazy`: only they are updated.  Cost: copies of D values a
//   position.
#include "ops/ids.h"
#include "ops/lookup.h"

#include <algorithm>

namespace bp {
namespace {

template <class T> class Embedding final : public Op<T>, public Lookup<T> {
 public:
  Embedding(const Shape& x, std::int64_t rows, std::int64_t width, const std::string& name, bool lazy)
      : Lookup<T>(size_of(x)), positions_(size_of(x)), rows_(rows), width_(width), lazy_(lazy), name_(name),
        chunks_({positions_, 1}, BatchChunks::Layout::kApart) {
    this->sizes_.shape = x;
    this->sizes_.shape.push_back(width);
    this->sizes_.flops = positions_ * width;
    this->facts_.takes_ids = true;
    this->facts_.steepness = 1;
  }

  void forward(const Io<T>& io, const Block& block, T*) const override {
    const Rows at{block.rows.begin * positions_, block.rows.end * positions_};
    for (std::int64_t i = at.begin; i < at.end; ++i) {
      const std::int64_t id = id_at(io.x[0] + i);
      if (id < 0 || id >= rows_) refuse(id, i);
      std::copy_n(io.w[0] + id * width_, width_, io.y + i * width_);
    }
  }
  void backward(const Io<T>& io, const Block& block, T*) const override {
    if (io.dx[0] == nullptr || io.add[0]) return;
    std::fill_n(io.dx[0] + block.rows.begin * positions_, block.rows.count() * positions_, T(0));
  }

  std::int64_t accumulate_scratch(int, const Tile& tile, std::int64_t) const override {
    return chunks_.template scratch<T>(tile.size());
  }

  void accumulate(const Io<T>& io, int, const Tile& tile, Rows rows, T* g, bool add, T* scratch) const override {
    const std::int64_t columns = tile.columns.count();
    chunks_.sum_pieces(rows, tile.size(), g, add, scratch, [&](Rows piece, Chain chain, T* to) {
      if (chain == Chain::kStarts) std::fill_n(to, tile.size(), T(0));
      for (std::int64_t i = piece.begin; i < piece.end; ++i) {
        const std::int64_t row = id_at(io.x[0] + i) - tile.rows.begin;
        if (row < 0 || row >= tile.rows.count()) continue;
        kernels<T>().axpy(T(1), io.dy + i * width_ + tile.columns.begin, to + row * columns, columns);
      }
    });
  }

  const Lookup<T>* as_lookup() const override { return this; }
  std::int64_t row(const Io<T>& io, std::int64_t position) const override { return id_at(io.x[0] + position); }
  bool lazy() const override { return lazy_; }

 protected:
  const T* gradient(const Io<T>& io, std::int64_t position) const override { return io.dy + position * width_; }

 private:
  [[noreturn]] void refuse(std::int64_t id, std::int64_t position) const {
    throw BadInput(name_ + ": got id " + std::to_string(id) + " in row " + std::to_string(position / positions_) +
                   " of a batch, expected 0 to " + std::to_string(rows_ - 1));
  }
  std::int64_t positions_, rows_, width_;
  bool lazy_;
  std::string name_;
  BatchChunks chunks_;
};

}  // namespace

template <class T> OpPtr<T> make_embedding(const Node<T>& node) {
  node.expect(node.xs.size() == 1 && node.ws.size() == 1 && node.ws[0].size() == 2, "expected ids and a table (V, D)");
  return std::make_unique<Embedding<T>>(node.xs[0], node.ws[0][0], node.ws[0][1], node.name, node.flag("lazy"));
}
BP_INSTANTIATE_MAKER(make_embedding)

}  // namespace bp
