#include "solve/kronecker.h"

#include <algorithm>

namespace bp {
namespace {

constexpr std::int64_t kGroup = 56;             // rows i j of a product at once: several register tiles
constexpr std::int64_t kOuterBytes = 64 << 20;  // of S: beyond it rows of J are cheaper

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
std::int64_t triangle(std::int64_t n) { return n * (n + 1) / 2; }

const Products<double>& products() { return kernels<double>().products[static_cast<int>(Compute::kFull)]; }

}  // namespace

bool KroneckerSquare::fits(const Sweep<double>& sweep, std::int64_t samples) {
  int other = -1;
  std::int64_t widest = 0;
  for (const DenseLayer& layer : dense_layers(sweep, &other)) widest = std::max(widest, layer.out);
  return other < 0 && !sweep.together() && samples * widest * widest * 8 <= kOuterBytes;
}

KroneckerSquare::KroneckerSquare(const Sweep<double>& sweep, std::int64_t samples, std::int64_t columns)
    : samples_(samples), columns_(columns) {
  int other = -1;
  for (DenseLayer& layer : dense_layers(sweep, &other)) layers_.emplace_back(std::move(layer));
  std::int64_t widest = 1;
  for (Layer& layer : layers_) {
    layer.inputs = Buffer<double>(samples * layer.rows(), kUnwritten);
    layer.deltas = Buffer<double>(columns * samples * layer.out, kUnwritten);
  }
  for (std::size_t a = 0; a < layers_.size(); ++a) {
    for (std::size_t b = a; b < layers_.size(); ++b) {
      const Layer &first = layers_[a], &second = layers_[b];
      Pair pair{a, b, first.rows() * second.rows(), first.out * second.out, {}};
      if (a == b) pair.products = triangle(first.rows()), pair.outers = triangle(first.out);
      pair.sum = Buffer<double>(checked_mul(pair.products, pair.outers), kUnwritten, "J^T J");
      widest = std::max(widest, pair.outers);
      pairs_.push_back(std::move(pair));
    }
  }
  outer_ = Buffer<double>(samples * widest, kUnwritten);
}

void KroneckerSquare::make_room(int threads) {
  std::int64_t most = 1, scratch = 1;
  for (const Layer& layer : layers_) most = std::max(most, layer.rows());
  for (const Pair& pair : pairs_) {
    Matmul<double> p{};
    p.m = kGroup + most, p.n = pair.outers, p.k = samples_;
    p.lda = p.m, p.ldb = p.ldc = p.n;
    p.a_transposed = p.add = true;
    scratch = std::max(scratch, products().most_scratch(p));
  }
  while (static_cast<int>(scratch_.size()) < threads) {
    scratch_.push_back({Buffer<double>(samples_ * (kGroup + most), kUnwritten), Buffer<double>(scratch, kUnwritten)});
  }
}

void KroneckerSquare::keep_inputs(Sweep<double>& sweep, const Part& part) {
  for (Layer& layer : layers_) {
    homogeneous_inputs(sweep, layer, part.mine, layer.inputs.data() + part.mine.begin * layer.rows());
  }
}

void KroneckerSquare::keep_deltas(Sweep<double>& sweep, const Part& part, std::int64_t column) {
  for (Layer& layer : layers_) {
    std::copy_n(sweep.io(layer.step).dy + part.mine.begin * layer.out, part.mine.count() * layer.out,
                layer.deltas.data() + (column * samples_ + part.mine.begin) * layer.out);
  }
}

// S of the member's samples.
void KroneckerSquare::make_outer(const Pair& pair, Rows mine) {
  const Layer &a = layers_[pair.first], &b = layers_[pair.second];
  const bool same = pair.first == pair.second;
  for (std::int64_t r = mine.begin; r < mine.end; ++r) {
    double* to = outer_.data() + r * pair.outers;
    for (std::int64_t k = 0; k < a.out; ++k) {
      const std::int64_t begin = same ? k : 0, n = b.out - begin;
      for (std::int64_t m = 0; m < columns_; ++m) {
        const double d = a.deltas[(m * samples_ + r) * a.out + k];
        const double* const e = b.deltas.data() + (m * samples_ + r) * b.out + begin;
        if (m == 0) {
          for (std::int64_t j = 0; j < n; ++j) to[j] = d * e[j];
        } else {
          for (std::int64_t j = 0; j < n; ++j) to[j] += d * e[j];
        }
      }
      to += n;
    }
  }
}

// Rows i j in groups of whole i, dealt out to the members.
void KroneckerSquare::add_product(const Part& part, Pair& pair) {
  const Layer &a = layers_[pair.first], &b = layers_[pair.second];
  const bool same = pair.first == pair.second;
  const std::int64_t n = part.data.count();
  Scratch& own = scratch_[at(part.team.rank)];
  std::int64_t row = 0, group = 0;
  for (std::int64_t i = 0; i < a.rows(); ++group) {
    std::int64_t end = i, height = 0;
    while (end < a.rows() && (height == 0 || height + b.rows() - (same ? end : 0) <= kGroup)) {
      height += b.rows() - (same ? end : 0);
      ++end;
    }
    if (group % part.team.size == part.team.rank) {
      for (std::int64_t r = 0; r < n; ++r) {
        double* to = own.products.data() + r * height;
        const double *x = a.inputs.data() + r * a.rows(), *y = b.inputs.data() + r * b.rows();
        for (std::int64_t k = i; k < end; ++k) {
          for (std::int64_t j = same ? k : 0; j < b.rows(); ++j) *to++ = x[k] * y[j];
        }
      }
      Matmul<double> p{};
      p.m = height, p.n = pair.outers, p.k = n;
      p.a = own.products.data(), p.lda = height, p.a_transposed = true;
      p.b = outer_.data(), p.ldb = pair.outers;
      p.c = pair.sum.data() + row * pair.outers, p.ldc = pair.outers;
      p.add = part.data.begin > 0;
      p.scratch = own.matmul.data();
      products().run(p);
    }
    row += height;
    i = end;
  }
}

void KroneckerSquare::add(const Part& part) {
  for (Pair& pair : pairs_) {
    make_outer(pair, part.mine);
    part.team.barrier();
    add_product(part, pair);
    part.team.barrier();
  }
}

void KroneckerSquare::finish(double* q, std::int64_t size) const {
  const auto put = [&](std::int64_t row, std::int64_t column, double value) {
    q[std::min(row, column) * size + std::max(row, column)] = value;
  };
  for (const Pair& pair : pairs_) {
    const Layer &a = layers_[pair.first], &b = layers_[pair.second];
    const bool same = pair.first == pair.second;
    const double* from = pair.sum.data();
    for (std::int64_t i = 0; i < a.rows(); ++i) {
      for (std::int64_t j = same ? i : 0; j < b.rows(); ++j, from += pair.outers) {
        const std::int64_t row = a.offset[at(i)], column = b.offset[at(j)];
        const double* value = from;
        for (std::int64_t k = 0; k < a.out; ++k) {
          const std::int64_t begin = same ? k : 0, n = b.out - begin;
          if (row + a.out <= column || (row == column && same)) {
            std::copy_n(value, n, q + (row + k) * size + column + begin);
          } else {
            for (std::int64_t l = 0; l < n; ++l) put(row + k, column + begin + l, value[l]);
          }
          for (std::int64_t l = 1; same && i != j && l < n; ++l) put(row + k + l, column + k, value[l]);
          value += n;
        }
      }
    }
  }
}

}  // namespace bp
