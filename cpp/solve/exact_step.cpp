#include "solve/exact_step.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "solve/curvature.h"

namespace bp {
namespace {

constexpr std::int64_t kBand = 4096;  // weights that a thread takes at once

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

}  // namespace

// work(band's number, its weights in w, c)
template <class T> template <class Do> void ExactStep<T>::each_band(Do&& work) const {
  const auto& penalties = sweep_.config().penalties;
  std::int64_t item = 0;
  for (std::size_t p = 0; p < sweep_.offsets().size(); ++p) {
    const std::int64_t begin = sweep_.offsets()[p];
    if (begin < 0) continue;
    const std::int64_t end = begin + size_of(sweep_.graph().params[p].shape);
    const double c = damping_ + (penalties.empty() ? 0 : 2 * penalties[p].l2);
    for (std::int64_t i = begin; i < end; i += kBand) work(item++, Rows{i, std::min(i + kBand, end)}, c);
  }
}

template <class T> void ExactStep<T>::prepare(std::int64_t samples, int threads) {
  tangents_.prepare(samples, threads);
  const auto& losses = sweep_.config().losses;
  images_.resize(losses.size());
  images_of_last_.resize(losses.size());
  std::int64_t widest = 1;
  for (std::size_t k = 0; k < losses.size(); ++k) {
    const std::int64_t size = samples * losses[k].positions * losses[k].width;
    widest = std::max(widest, size);
    for (auto* images : {&images_[k], &images_of_last_[k]}) {
      if (images->size() < size) *images = Buffer<T>(size, kUnwritten);
    }
  }
  work_.resize(std::max(work_.size(), at(threads)));
  for (Buffer<T>& own : work_) {
    if (own.size() < widest) own = Buffer<T>(widest, kUnwritten);
  }
  of_row_.resize(at(samples));
  std::int64_t bands = 0;
  each_band([&](std::int64_t item, Rows, double) { bands = item + 1; });
  of_band_.resize(at(bands));
}

template <class T>
void ExactStep<T>::sum_weights(const Team& team, const T* gradient, const T* direction, const T* last) {
  each_band([&](std::int64_t item, Rows band, double c) {
    if (item % team.size != team.rank) return;
    Sums sums;
    for (std::int64_t i = band.begin; i < band.end; ++i) {
      const auto g = static_cast<double>(gradient[i]), d = static_cast<double>(direction[i]);
      sums.square += c * d * d;
      sums.slope += g * d;
      if (last == nullptr) continue;
      const auto before = static_cast<double>(last[i]);
      sums.cross += c * d * before;
      sums.square_of_last += c * before * before;
      sums.slope_of_last += g * before;
    }
    of_band_[at(item)] = sums;
  });
}

// images = J v of the member's rows.
template <class T> void ExactStep<T>::see(const Part& part, const T* v, std::vector<Buffer<T>>& images) {
  if (part.team.rank == 0) tangents_.set_direction(v);
  part.team.barrier();
  tangents_.forward(part);
  const auto& losses = sweep_.config().losses;
  for (std::size_t k = 0; k < losses.size(); ++k) {
    const std::int64_t size = losses[k].positions * losses[k].width;
    std::copy_n(tangents_.value(losses[k].prediction) + part.mine.begin * size, part.mine.count() * size,
                images[k].data() + part.mine.begin * size);
  }
  part.team.barrier();  // before the next direction
}

template <class T> void ExactStep<T>::sum_rows(const Part& part, const std::vector<Buffer<T>>& curvature, bool last) {
  if (part.mine.count() == 0) return;
  std::fill(of_row_.begin() + part.mine.begin, of_row_.begin() + part.mine.end, Sums{});
  T* const product = work_[at(part.team.rank)].data();
  const auto& losses = sweep_.config().losses;
  for (std::size_t k = 0; k < losses.size(); ++k) {
    const std::int64_t size = losses[k].positions * losses[k].width, begin = part.mine.begin * size;
    const LossArgs<T> args = sweep_.loss_arguments(k, part.mine, part.data.count());
    const T* const h = curvature[k].data() + curvature_size(begin);
    const auto times = [&](const T* u) { times_curvature(losses[k], args, h, u, product); };
    const auto add = [&](double Sums::*sum, const T* u) {
      for (std::int64_t r = 0; r < part.mine.count(); ++r) {
        for (std::int64_t i = r * size; i < (r + 1) * size; ++i) {
          of_row_[at(part.mine.begin + r)].*sum += static_cast<double>(u[i]) * static_cast<double>(product[i]);
        }
      }
    };
    const T *const one = images_[k].data() + begin, *const other = images_of_last_[k].data() + begin;
    times(one);
    add(&Sums::square, one);
    if (!last) continue;
    add(&Sums::cross, other);
    times(other);
    add(&Sums::square_of_last, other);
  }
}

template <class T>
typename ExactStep<T>::Lengths ExactStep<T>::find(const Part& part, const std::vector<Buffer<T>>& curvature,
                                                  const T* gradient, const T* direction, const T* last) {
  sweep_.renew(part);
  sum_weights(part.team, gradient, direction, last);
  see(part, direction, images_);
  if (last != nullptr) see(part, last, images_of_last_);
  sum_rows(part, curvature, last != nullptr);
  part.team.barrier();
  Sums whole, fisher;
  for (std::int64_t r = 0; r < part.data.count(); ++r) {
    fisher.square += of_row_[at(r)].square;
    fisher.cross += of_row_[at(r)].cross;
    fisher.square_of_last += of_row_[at(r)].square_of_last;
  }
  for (const Sums& band : of_band_) {
    whole.square += band.square, whole.cross += band.cross, whole.square_of_last += band.square_of_last;
    whole.slope += band.slope, whole.slope_of_last += band.slope_of_last;
  }
  part.team.barrier();  // before another call writes
  const double dd = whole.square + fisher.square, dl = whole.cross + fisher.cross;
  const double ll = whole.square_of_last + fisher.square_of_last;
  Lengths found{dd > 0 ? whole.slope / dd : 0, 0, 0};
  const double determinant = dd * ll - dl * dl;
  constexpr double kParallel = 16 * std::numeric_limits<T>::epsilon();  // D and d, as far as T can tell
  if (determinant > kParallel * dd * ll) {
    found.along = (ll * whole.slope - dl * whole.slope_of_last) / determinant;
    found.last = (dl * whole.slope - dd * whole.slope_of_last) / determinant;
  }
  const double a = found.along, b = found.last;
  found.divergence = (a * a * fisher.square - 2 * a * b * fisher.cross + b * b * fisher.square_of_last) / 2;
  return found;
}

template class ExactStep<float>;
template class ExactStep<double>;

}  // namespace bp
