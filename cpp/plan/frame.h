// The arrays of one execution of a plan, for up to `capacity` samples, in one arena.
#pragma once

#include "plan/plan.h"

namespace bp {

// Running statistics of a layer would not be finite; they were left as they were.
struct BadStatistics : std::runtime_error {
  explicit BadStatistics(const std::string& name) : std::runtime_error(name), layer(name) {}
  std::string layer;
};

template <class T> class Frame {
 public:
  // In training every value lives to the end of the step. In inference values share memory by lifetime.
  Frame(std::shared_ptr<const Plan<T>> plan, std::int64_t capacity);

  std::int64_t capacity() const { return capacity_; }
  std::int64_t bytes() const { return arena_.size() * static_cast<std::int64_t>(sizeof(T)); }
  T* value(int v) { return values_[static_cast<std::size_t>(plan_->root(v))]; }
  T* gradient(int v) { return gradients_[static_cast<std::size_t>(plan_->root(v))]; }  // null without
  Io<T>& io(std::size_t step) { return io_[step]; }
  void set_training(bool training);
  void set_draw(std::uint64_t draw);
  void set_batch(std::int64_t n) {  // by each member, the same; others read the line beside it
    if (batch_.load(std::memory_order_relaxed) != n) batch_.store(n, std::memory_order_relaxed);
  }
  // Whether backward goes on to the gradients of the inputs, in a plan that has them.
  void want_inputs(bool wanted);
  // From now on ops carry states from batch to batch, all or those that are stateful: the first batch begins with
  // zeros.
  void carry(bool all);
  bool carries() const { return !carried_.empty(); }
  void use_carried(bool used);                  // or leave it alone: batches begin with zeros then, and leave nothing
  void keep_carried();                          // of the batch that is done, for the next one
  void drop_carried(bool stateful_too = true);  // the next batch begins with zeros
  void take_carried(const Frame& other);        // of the same plan, for fewer samples
  std::size_t carried_count() const { return carried_.size(); }
  // Of the i-th op that carries something: its step's name, numbers a sample, and where they are.
  struct Carried {
    std::size_t step;
    std::int64_t size;
    bool stateful;
    Buffer<T> in, out;
    Buffer<T> back;  // dL/d of where samples begin, if somebody goes on with it
  };
  Carried& carried(std::size_t i) { return carried_[i]; }
  const Carried& carried(std::size_t i) const { return carried_[i]; }
  // Backward begins with the gradients of the states with which the batch behind began (null: there is none), and
  // leaves those of its own. It works on a copy of what forward saved, which serves again after `go_on`.
  void go_back(const Frame* behind, std::int64_t n, Buffer<T>& copy);
  void go_on();
  // Visits all that backward reads of n samples, and the states that go on: visit(pointer, numbers).
  template <class Visit> void each_kept(std::int64_t n, Visit&& visit);
  // Lets an input value live in the caller's memory (null: back in the arena).
  void bind_input(int v, const T* data);

  void forward(std::size_t step, Rows rows, T* scratch) { plan_->steps()[step].forward_rows(io_[step], rows, scratch); }
  // Op::commit of all steps, after a training batch of n samples. params: where each of the graph's parameters lies;
  // without it statistics that would not be finite are BadStatistics, and nothing moves.
  void commit(std::int64_t n, const std::vector<T*>& params);
  void commit(std::int64_t n, bool moves = true);  // moves: false only tries it
  // Visits the weights of steps that have something to commit, among them those that it moves: visit(pointer, numbers).
  template <class Visit> void each_committed(Visit&& visit) const;
  double largest_kept() const;  // greatest magnitude of what is there to commit; NaN if there is one
  void backward(std::size_t step, Rows rows, T* scratch) {
    plan_->steps()[step].backward_rows(io_[step], rows, scratch);
  }

 private:
  struct Request {
    T** target;
    std::int64_t size;
    int first, last;  // steps during which it must not be shared
    std::int64_t offset;
  };
  void assign(std::vector<Request>& requests);

  std::shared_ptr<const Plan<T>> plan_;
  std::int64_t capacity_;
  std::atomic<std::int64_t> batch_{0};
  Buffer<T> arena_;
  std::vector<T*> values_, gradients_, own_;
  std::vector<Io<T>> io_;
  std::vector<std::vector<T*>> kept_params_;  // of steps that keep something for commit
  std::vector<Carried> carried_;
  std::vector<T*> saved_;  // by step: its own
};

template <class T> template <class Visit> void Frame<T>::each_kept(std::int64_t n, Visit&& visit) {
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const int v = static_cast<int>(i);
    if (values_[i] != nullptr && plan_->root(v) == v) visit(values_[i], n * plan_->graph().size(v));
  }
  for (std::size_t s = 0; s < io_.size(); ++s) {
    const Sizes& sizes = plan_->steps()[s].op->sizes();
    if (saved_[s] != nullptr) visit(saved_[s], n * sizes.saved);
    if (sizes.kept > 0) visit(io_[s].kept, sizes.kept);
  }
  for (Carried& of : carried_) visit(of.in.data(), n * of.size);
}

template <class T> template <class Visit> void Frame<T>::each_committed(Visit&& visit) const {
  for (const Step<T>& step : plan_->steps()) {
    if (step.op->sizes().kept == 0) continue;
    for (int p : step.params) {
      const ParameterView<T>& param = plan_->graph().params[static_cast<std::size_t>(p)];
      visit(param.value, size_of(param.shape));
    }
  }
}

}  // namespace bp
