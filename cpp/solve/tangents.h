// Derivatives in a direction v of the weights of all that a sweep computes (Pearlmutter 1994): of the values beside
// forward, of the deltas beside backward, of the gradient: the exact product of the Hessian with v.
//
//   affine ops, F(x, w) and B(dy, w):  y_t = F(x_t, w) - F(0, w) + F(x, v) - F(x, 0)
//                                     dx_t = B(dy_t, w) + B(dy, v) - B(dy, 0),  dw_t = A(x, dy_t) + A(x_t, dy) - A(0,
//                                     dy)
//   others by their tangent functions (ops/op.h)
#pragma once

#include "solve/sweep.h"

namespace bp {

template <class T> class Tangents {
 public:
  // The name of the first step of the plan that has no second derivative, or "".
  static std::string missing(const Plan<T>& plan);

  explicit Tangents(Sweep<T>& sweep) : sweep_(sweep) {}  // of a plan without fusions, none of whose steps is missing

  void prepare(std::int64_t capacity, int threads);  // for chunks of up to `capacity` samples
  void set_direction(const T* v);
  void forward(const Part& part);   // after the sweep's
  void backward(const Part& part);  // deltas of both heads given; in place of the sweep's
  // After a barrier, the member's share of the parameters: g (P) = or += the gradient's derivative over the chunk.
  void accumulate_share(const Part& part, T* g, bool add);

  T* value(int v) { return frame_->value(v); }
  T* gradient(int v) { return frame_->gradient(v); }
  void clear(const Part& part, int head);

 private:
  void affine_forward(std::size_t s, const Part& part, T* scratch);
  void affine_backward(std::size_t s, const Part& part, T* scratch);
  void affine_accumulate(std::size_t s, int slot, const Part& part, T* g, T* scratch);
  Io<T>& io(std::size_t s) { return frame_->io(s); }
  bool moves(std::size_t s) const;                                     // a parameter of the step is among the weights
  std::vector<const T*> weights(std::size_t s, bool direction) const;  // v or 0 in place of the trained ones

  Sweep<T>& sweep_;
  std::unique_ptr<Frame<T>> frame_;
  std::int64_t capacity_ = 0;
  Buffer<T> direction_, zeros_;
  std::vector<Buffer<T>> scratch_, result_;  // by thread
};

extern template class Tangents<float>;
extern template class Tangents<double>;

}  // namespace bp
