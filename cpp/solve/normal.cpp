#include "solve/normal.h"

#include <algorithm>

#include "plan/teamwork.h"

namespace bp {
namespace {

constexpr std::int64_t kBand = 64;            // rows of Q that a thread takes at once
constexpr std::int64_t kRowBytes = 16 << 20;  // of a chunk's rows of J: they pass through the cache once for each band
constexpr std::int64_t kMostSamples = 256;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

const Products<double>& products() { return kernels<double>().products[static_cast<int>(Compute::kFull)]; }

}  // namespace

NormalEquations::NormalEquations(Sweep<double>& sweep) : sweep_(sweep), size_(sweep.size()) {
  for (const BoundLoss<double>& loss : sweep.config().losses) columns_ += loss.positions * loss.width;
  const std::int64_t sample = std::max<std::int64_t>(columns_ * size_ * 8, 1);
  if (KroneckerSquare::fits(sweep, kMostSamples)) {
    dense_ = std::make_unique<KroneckerSquare>(sweep, kMostSamples, columns_);
  }
  chunk_ = dense_ != nullptr  ? kMostSamples
           : sweep.together() ? 1
                              : std::clamp<std::int64_t>(kRowBytes / sample, 1, kMostSamples);
  matrix_ = Buffer<double>(checked_mul(size_, size_), kUnwritten, "J^T J");
  gradient_ = Buffer<double>(size_);
  if (dense_ == nullptr)
    rows_ = Buffer<double>(checked_mul(checked_mul(chunk_, columns_), size_), kUnwritten, "a chunk's rows of J");
  for (const BoundLoss<double>& loss : sweep.config().losses) {
    curvature_.emplace_back(curvature_size(chunk_ * loss.positions * loss.width), kUnwritten);
  }
}

double NormalEquations::sum_of_losses(const Part& part) const {
  double sum = 0;
  for (std::int64_t r = 0; r < part.data.count(); ++r) sum += sweep_.row_loss(r);
  return sum;
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
          for (std::int64_t r = 0; r < part.mine.count() * loss.positions; ++r) {  // one position at a time
            if (r % loss.positions != position) std::fill_n(mine + r * loss.width, loss.width, 0.0);
          }
        }
        sweep_.backward(part);
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

// Q's upper triangle += rows^T rows, in bands.
void NormalEquations::add_square(const Part& part) {
  Matmul<double> p{};
  p.k = part.data.count() * columns_;
  p.lda = p.ldb = p.ldc = size_;
  p.a_transposed = true;
  p.add = part.data.begin > 0;
  Buffer<double>& scratch = scratch_[at(part.team.rank)];
  if (scratch.size() == 0) {
    Matmul<double> most = p;
    most.m = kBand, most.n = size_, most.k = chunk_ * columns_, most.add = true;
    scratch = Buffer<double>(products().most_scratch(most), kUnwritten);
  }
  p.scratch = scratch.data();
  for (std::int64_t i = part.team.rank * kBand; i < size_; i += part.team.size * kBand) {
    p.m = std::min(kBand, size_ - i), p.n = size_ - i;
    p.a = p.b = rows_.data() + i;
    p.c = matrix_.data() + i * size_ + i;
    products().run(p);
  }
}

double NormalEquations::evaluate(const BatchSource<double>& source, const Poll& poll) {
  const std::int64_t work = source.n * (columns_ + 2) * (sweep_.plan().flops() + size_ * size_);
  const int threads = threads_for(work);
  scratch_.resize(std::max(at(threads), scratch_.size()));
  if (dense_ != nullptr) dense_->make_room(threads);
  double total = 0;
  sweep_.run(source, chunk_, threads, poll, [&](const Part& part) {
    sweep_.forward(part);
    sweep_.losses(part, source.n, false);
    if (dense_ != nullptr) dense_->keep_inputs(sweep_, part);
    make_rows(part, source.n);
    sweep_.renew(part);
    sweep_.losses(part, source.n, true);
    sweep_.backward(part);
    part.team.barrier();
    if (part.team.rank == 0) total += sum_of_losses(part);
    sweep_.accumulate_share(part, gradient_.data(), part.data.begin > 0);
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
    sweep_.losses(part, source.n, false);
    part.team.barrier();
    if (part.team.rank == 0) total += sum_of_losses(part);
  });
  return total / static_cast<double>(source.n);
}

}  // namespace bp
