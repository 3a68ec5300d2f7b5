#include "solve/normal.h"

#include <algorithm>

#include "plan/teamwork.h"

namespace bp {
namespace {

constexpr std::int64_t kBand = 64;        // rows of Q that a thread takes at once
constexpr std::int64_t kNarrowBand = 14;  // of a Q so small that a wide band would be half of it: a register tile
constexpr std::int64_t kNarrowRows = 256 << 10, kNarrowSamples = 512;  // they stay in the level-2 cache for all bands
constexpr std::int64_t kRowBytes = 16 << 20;  // of a chunk's rows of J: they pass through the cache once for each band
constexpr std::int64_t kMostSamples = 256;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

const Products<double>& products() { return kernels<double>().products[static_cast<int>(Compute::kFull)]; }

}  // namespace

NormalEquations::NormalEquations(Sweep<double>& sweep) : sweep_(sweep), size_(sweep.size()) {
  for (const BoundLoss<double>& loss : sweep.config().losses) columns_ += loss.positions * loss.width;
  const std::int64_t sample = std::max<std::int64_t>(columns_ * size_ * 8, 1);
  int other = -1;
  if (columns_ == 1 && !sweep.together()) narrow_ = dense_layers(sweep, &other);
  if (other >= 0) narrow_.clear();
  short_ = !narrow_.empty() && is_sum_of_squares(sweep.config().losses[0]);
  if (narrow_.empty() && KroneckerSquare::fits(sweep, kMostSamples)) {
    dense_ = std::make_unique<KroneckerSquare>(sweep, kMostSamples, columns_);
  }
  chunk_ = dense_ != nullptr  ? kMostSamples
           : !narrow_.empty() ? std::clamp<std::int64_t>(kNarrowRows / sample, 64, kNarrowSamples)
           : sweep.together() ? 1
                              : std::clamp<std::int64_t>(kRowBytes / sample, 1, kMostSamples);
  matrix_ = Buffer<double>(checked_mul(size_, size_), kUnwritten, "J^T J");
  gradient_ = Buffer<double>(size_);
  if (dense_ == nullptr)
    rows_ = Buffer<double>(checked_mul(checked_mul(chunk_, columns_), size_), kUnwritten, "a chunk's rows of J");
  residuals_ = Buffer<double>(chunk_);
  for (const BoundLoss<double>& loss : sweep.config().losses) {
    curvature_.emplace_back(curvature_size(chunk_ * loss.positions * loss.width), kUnwritten);
  }
}

// Row m of sample r, at (r columns_ + m) P: the gradient of column m of S.
void NormalEquations::make_rows(const Part& part, std::int64_t n) {
  const auto& losses = sweep_.config().losses;
  std::int64_t column = 0;
  for (std::size_t k = 0; k < losses.size(); ++k) {
    const BoundLoss<double>& loss = losses[k];
    const std::int64_t size = loss.positions * loss.width;
    const LossArgs<double> args = sweep_.loss_arguments(k, part.mine, n);
    double* const h = curvature_[k].data() + curvature_size(part.mine.begin * size);
    measure_curvature(loss, args, false, h);
    double* const delta = sweep_.gradient(loss.prediction);
    for (std::int64_t position = 0; position < loss.positions; ++position) {
      for (std::int64_t j = 0; j < loss.width; ++j, ++column) {
        sweep_.renew(part);
        if (delta != nullptr && part.mine.count() > 0) {
          double* const mine = delta + part.mine.begin * size;
          factor_of_curvature(loss, args, h, j, mine);
          for (std::int64_t r = 0; loss.positions > 1 && r < part.mine.count() * loss.positions; ++r) {
            if (r % loss.positions != position) std::fill_n(mine + r * loss.width, loss.width, 0.0);  // one at a time
          }
        }
        if (short_) keep_residuals(part);
        sweep_.backward(part);
        if (!narrow_.empty()) {
          rows_of_dense_layers(sweep_, narrow_, part.mine, rows_.data(), size_);
          continue;
        }
        if (dense_ != nullptr) {
          dense_->keep_deltas(sweep_, part, column);
          continue;
        }
        for (std::int64_t r = part.mine.begin; r < part.mine.end; ++r) {
          sweep_.accumulate(part, {r, r + 1}, rows_.data() + (r * columns_ + column) * size_);
        }
      }
    }
  }
}

// Of squares the loss's delta is S times the residual, and S is what backward goes from: J^T delta = rows^T (delta /
// S).
void NormalEquations::keep_residuals(const Part& part) {
  const double* const s = sweep_.gradient(sweep_.config().losses[0].prediction);
  for (std::int64_t r = part.mine.begin; r < part.mine.end; ++r) residuals_[r] = s[r] == 0 ? 0 : residuals_[r] / s[r];
}

// The member's columns of rows^T residuals.
void NormalEquations::add_gradient(const Part& part) {
  const Rows share = split(size_, part.team.rank, part.team.size);
  if (share.count() == 0) return;
  Matmul<double> p{};
  p.m = 1, p.n = share.count(), p.k = part.data.count();
  p.a = residuals_.data(), p.lda = p.k;
  p.b = rows_.data() + share.begin, p.ldb = size_;
  p.c = gradient_.data() + share.begin, p.ldc = size_;
  p.add = part.data.begin > 0;
  p.scratch = scratch_[at(part.team.rank)].data();
  products().run(p);
}

// Q's upper triangle += rows^T rows, in bands.
void NormalEquations::add_square(const Part& part) {
  Matmul<double> p{};
  p.k = part.data.count() * columns_;
  p.lda = p.ldb = p.ldc = size_;
  p.a_transposed = true;
  p.add = part.data.begin > 0;
  p.scratch = scratch_[at(part.team.rank)].data();
  const std::int64_t band = size_ < 4 * kBand ? kNarrowBand : kBand;
  for (std::int64_t i = part.team.rank * band; i < size_; i += part.team.size * band) {
    p.m = std::min(band, size_ - i), p.n = size_ - i;
    p.a = p.b = rows_.data() + i;
    p.c = matrix_.data() + i * size_ + i;
    products().run(p);
  }
}

double NormalEquations::evaluate(const BatchSource<double>& source, const Poll& poll, bool known) {
  const std::int64_t work = source.n * (columns_ + 2) * (sweep_.plan().flops() + size_ * size_);
  const int threads = threads_for(work);
  while (dense_ == nullptr && scratch_.size() < at(threads)) {
    Matmul<double> most{};
    most.m = kBand, most.n = size_, most.k = chunk_ * columns_;
    most.lda = most.ldb = most.ldc = size_;
    most.a_transposed = most.add = true;
    scratch_.emplace_back(products().most_scratch(most), kUnwritten);
  }
  if (dense_ != nullptr) dense_->make_room(threads);
  double total = 0;
  known = known && holds(source);  // of more chunks only the last one's values are still there
  sweep_.run(source, chunk_, threads, poll, [&](const Part& part) {
    if (!known) {
      sweep_.forward(part);
      sweep_.losses(part, source.n, short_);
    }
    if (short_) {
      const double* const delta = sweep_.gradient(sweep_.config().losses[0].prediction);
      std::copy_n(delta + part.mine.begin, part.mine.count(), residuals_.data() + part.mine.begin);
    }
    if (dense_ != nullptr) dense_->keep_inputs(sweep_, part);
    make_rows(part, source.n);
    if (!short_) {
      sweep_.renew(part);
      sweep_.losses(part, source.n, true);
      sweep_.backward(part);
    }
    part.team.barrier();
    if (part.team.rank == 0) total += sweep_.add_losses(part.all(), 0);
    if (short_) {
      add_gradient(part);
    } else {
      sweep_.accumulate_share(part, gradient_.data(), part.data.begin > 0);
    }
    if (dense_ != nullptr) {
      dense_->add(part);
    } else {
      add_square(part);
    }
  });
  if (dense_ != nullptr) dense_->finish(matrix_.data(), size_);
  return total / static_cast<double>(source.n);
}

double NormalEquations::loss(const BatchSource<double>& source, const Poll& poll) {
  double total = 0;
  const int threads = threads_for(sweep_.plan().flops() * source.n);
  sweep_.run(source, chunk_, threads, poll, [&](const Part& part) {
    sweep_.forward(part);
    sweep_.losses(part, source.n, short_);
    part.team.barrier();
    if (part.team.rank == 0) total += sweep_.add_losses(part.all(), 0);
  });
  return total / static_cast<double>(source.n);
}

}  // namespace bp
