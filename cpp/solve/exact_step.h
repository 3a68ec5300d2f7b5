// How far a step goes: the minimum of a quadratic model of a batch's loss along a direction D and the last step d (J.
// Martens, R. Grosse, 2015, sections 6.4 and 7).
//
//   m(s) = g s + s (F + diag c) s / 2,  s = -a D + b d,  c = damping + 2 l2 of each weight
//   (D C D, -D C d; -D C d, d C d) (a; b) = (g D; -g d),  C = F + diag c;  or a = g D / D C D and b = 0
// F is the exact Fisher matrix of the batch: s F s = the sum over samples of (J s)^T H (J s), H the expected curvature
// of the losses in the predictions. J s by derivatives along s beside forward (solve/tangents.h): a pass for each of D
// and d. Bits do not depend on the number of threads: sums over weights go by bands of a fixed size, those over samples
// row by row.
#pragma once

#include "solve/tangents.h"

namespace bp {

template <class T> class ExactStep {
 public:
  // Of a sweep whose plan has no fusions and no layer that Tangents misses.
  ExactStep(Sweep<T>& sweep, double damping) : sweep_(sweep), tangents_(sweep), damping_(damping) {}

  void prepare(std::int64_t samples, int threads);  // on one thread

  struct Lengths {
    double along, last;  // a and b
    double divergence;   // s F s / 2
  };
  // On every member of a team, after the sweep's forward; the same on all. curvature: by loss, as measure_curvature
  // leaves it. last: null, or d. Ends with a barrier.
  Lengths find(const Part& part, const std::vector<Buffer<T>>& curvature, const T* gradient, const T* direction,
               const T* last);

 private:
  struct Sums {  // over weights, and over samples: of D and D, D and d, d and d; of g and D, g and d
    double square = 0, cross = 0, square_of_last = 0, slope = 0, slope_of_last = 0;
  };
  template <class Do> void each_band(Do&& work) const;
  void sum_weights(const Team& team, const T* gradient, const T* direction, const T* last);
  void see(const Part& part, const T* v, std::vector<Buffer<T>>& images);
  void sum_rows(const Part& part, const std::vector<Buffer<T>>& curvature, bool last);

  Sweep<T>& sweep_;
  Tangents<T> tangents_;
  double damping_;
  std::vector<Buffer<T>> images_, images_of_last_;  // J D and J d, by loss
  std::vector<Buffer<T>> work_;                     // H J s of a member's rows, by thread
  std::vector<Sums> of_band_, of_row_;
};

extern template class ExactStep<float>;
extern template class ExactStep<double>;

}  // namespace bp
