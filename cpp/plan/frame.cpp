#include "plan/frame.h"

#include <algorithm>
#include <map>

namespace bp {

template <class T>
Frame<T>::Frame(std::shared_ptr<const Plan<T>> plan, std::int64_t capacity)
    : plan_(std::move(plan)), capacity_(capacity) {
  const std::size_t n = plan_->graph().nodes.size();
  const auto& steps = plan_->steps();
  values_.assign(n, nullptr);
  gradients_.assign(n, nullptr);
  io_.resize(steps.size());
  const bool training = plan_->options().training;
  const int end = static_cast<int>(steps.size());

  std::vector<int> made(n, -1);
  for (std::size_t s = 0; s < steps.size(); ++s) made[static_cast<std::size_t>(steps[s].output)] = static_cast<int>(s);
  std::vector<Request> requests;
  for (std::size_t i = 0; i < n; ++i) {
    const int v = static_cast<int>(i);
    if (plan_->root(v) != v || !plan_->computed(v)) continue;
    const std::int64_t size = checked_mul(capacity, plan_->graph().size(v));
    requests.push_back({&values_[i], size, training ? -1 : made[i], training ? end : plan_->last_use(v), 0});
    if (plan_->has_gradient(v)) requests.push_back({&gradients_[i], size, -1, end, 0});
  }
  for (std::size_t s = 0; s < steps.size(); ++s) {
    const std::int64_t saved = steps[s].op->sizes().saved;
    if (training && saved > 0) requests.push_back({&io_[s].saved, checked_mul(capacity, saved), -1, end, 0});
    const std::int64_t kept = steps[s].op->sizes().kept;
    if (kept > 0) requests.push_back({&io_[s].kept, kept, -1, end, 0});
  }
  assign(requests);
  own_ = values_;

  for (std::size_t s = 0; s < steps.size(); ++s) {
    Io<T>& io = io_[s];
    for (std::size_t i = 0; i < steps[s].inputs.size(); ++i) {
      io.x.push_back(value(steps[s].inputs[i]));
      io.dx.push_back(steps[s].wants_dx[i] ? gradient(steps[s].inputs[i]) : nullptr);
    }
    io.add = steps[s].adds_dx;
    saved_.push_back(io.saved);
    io.y = value(steps[s].output);
    io.dy = gradient(steps[s].output);
    for (int param : steps[s].params) io.w.push_back(plan_->graph().params[static_cast<std::size_t>(param)].value);
    for (int param : steps[s].params) {
      const int back = plan_->graph().params[static_cast<std::size_t>(param)].back;
      const int read = back < 0 ? param : back;
      io.w_back.push_back(plan_->graph().params[static_cast<std::size_t>(read)].value);
    }
    io.batch = &batch_;
    kept_params_.emplace_back();
    if (steps[s].op->sizes().kept == 0) continue;
    for (int param : steps[s].params)
      kept_params_[s].push_back(plan_->graph().params[static_cast<std::size_t>(param)].value);
  }
}

// Largest first, each at the lowest offset free during its lifetime. Who has one offset live one after the other.
template <class T> void Frame<T>::assign(std::vector<Request>& requests) {
  std::vector<Request*> order;
  int begin = 0, end = 0;
  for (Request& request : requests) {
    if (request.size > 0) order.push_back(&request);
    begin = std::min(begin, request.first), end = std::max(end, request.last);
  }
  std::stable_sort(order.begin(), order.end(), [](const Request* a, const Request* b) { return a->size > b->size; });
  std::map<std::int64_t, std::map<int, const Request*>> placed;  // by offset, by first
  std::int64_t total = 0, solid = 0;                             // below solid all is taken, all the time
  for (Request* request : order) {
    const std::int64_t size = align_up<T>(request->size);
    std::int64_t offset = solid;
    for (auto at = placed.lower_bound(solid); at != placed.end() && at->first < offset + size; ++at) {
      auto other = at->second.upper_bound(request->last);
      while (other != at->second.begin() && (--other)->second->last >= request->first)
        offset = std::max(offset, at->first + align_up<T>(other->second->size));
    }
    request->offset = offset;
    placed[offset][request->first] = request;
    total = std::max(total, offset + size);
    if (offset == solid && request->first == begin && request->last == end) solid += size;
  }
  const std::string rows = std::to_string(capacity_);
  const std::string what = "the values of " + rows + " rows at once; a smaller batch_size takes less";
  arena_ = Buffer<T>(total, what.c_str());
  for (const Request& request : requests) *request.target = arena_.data() + request.offset;
}

template <class T> void Frame<T>::set_training(bool training) {
  for (Io<T>& io : io_) io.training = training;
}

template <class T> void Frame<T>::set_draw(std::uint64_t draw) {
  // Not to the others: this is called while other threads read them.
  for (std::size_t s = 0; s < io_.size(); ++s) {
    if (plan_->steps()[s].op->facts().draws) io_[s].draw = draw;
  }
}

template <class T> void Frame<T>::want_inputs(bool wanted) {
  for (std::size_t s = 0; s < io_.size(); ++s) {
    const Step<T>& step = plan_->steps()[s];
    for (std::size_t i = 0; i < step.inputs.size(); ++i) {
      if (step.for_inputs[i]) io_[s].dx[i] = wanted ? gradient(step.inputs[i]) : nullptr;
    }
  }
}

template <class T> void Frame<T>::commit(std::int64_t n, const std::vector<T*>& params) {
  for (std::size_t s = 0; s < io_.size(); ++s) {
    const Step<T>& step = plan_->steps()[s];
    if (step.op->sizes().kept == 0) continue;
    std::vector<T*>& own = kept_params_[s];  // of the right size
    for (std::size_t k = 0; k < own.size(); ++k) own[k] = params[static_cast<std::size_t>(step.params[k])];
    step.op->commit(io_[s], n, own);
  }
}

template <class T> void Frame<T>::carry(bool wants_all) {
  if (carries()) return;
  for (std::size_t s = 0; s < io_.size(); ++s) {
    const std::int64_t size = plan_->steps()[s].op->sizes().carried;
    const bool stateful = plan_->steps()[s].op->facts().stateful;
    if (size == 0 || !(wants_all || stateful)) continue;
    const std::int64_t all = checked_mul(capacity_, size);
    carried_.push_back({s, size, stateful, Buffer<T>(all), Buffer<T>(all)});
    io_[s].carried = carried_.back().in.data(), io_[s].carries = carried_.back().out.data();
  }
}

template <class T> void Frame<T>::use_carried(bool used) {
  for (Carried& of : carried_) {
    io_[of.step].carried = used ? of.in.data() : nullptr, io_[of.step].carries = used ? of.out.data() : nullptr;
  }
}

template <class T> void Frame<T>::keep_carried() {
  for (Carried& of : carried_) {
    std::swap(of.in, of.out);
    io_[of.step].carried = of.in.data(), io_[of.step].carries = of.out.data();
  }
}

template <class T> void Frame<T>::drop_carried(bool stateful_too) {
  for (Carried& of : carried_) {
    if (stateful_too || !of.stateful) std::fill_n(of.in.data(), of.in.size(), T(0));
  }
}

template <class T> void Frame<T>::take_carried(const Frame& other) {
  for (std::size_t i = 0; i < carried_.size(); ++i) {
    const Buffer<T>& from = other.carried_[i].in;
    std::copy_n(from.data(), std::min(from.size(), carried_[i].in.size()), carried_[i].in.data());
  }
}

template <class T> void Frame<T>::go_back(const Frame* behind, std::int64_t n, Buffer<T>& copy) {
  std::int64_t size = 0;
  for (const Step<T>& step : plan_->steps()) size += align_up<T>(n * step.op->sizes().saved);
  if (copy.size() < size) copy = Buffer<T>(size, kUnwritten, "what a batch keeps for backward");
  T* to = copy.data();
  for (std::size_t s = 0; s < io_.size(); ++s) {
    if (saved_[s] == nullptr) continue;
    const std::int64_t count = n * plan_->steps()[s].op->sizes().saved;
    io_[s].saved = std::copy_n(saved_[s], count, to) - count;
    to += align_up<T>(count);
  }
  for (std::size_t i = 0; i < carried_.size(); ++i) {
    Carried& of = carried_[i];
    if (of.back.size() == 0) of.back = Buffer<T>(of.in.size());
    io_[of.step].dcarried = of.back.data();
    io_[of.step].dcarries = behind == nullptr ? nullptr : behind->carried_[i].back.data();
  }
}

template <class T> void Frame<T>::go_on() {
  for (std::size_t s = 0; s < io_.size(); ++s) io_[s].saved = saved_[s];
}

template <class T> void Frame<T>::commit(std::int64_t n, bool moves) {
  std::vector<T*> copies;
  std::vector<Buffer<T>> memory;
  for (const ParameterView<T>& param : plan_->graph().params) copies.push_back(param.value);
  const auto each = [&](auto&& visit) {
    for (const Step<T>& step : plan_->steps()) {
      if (step.op->sizes().kept == 0) continue;
      for (int p : step.params) {
        const ParameterView<T>& param = plan_->graph().params[static_cast<std::size_t>(p)];
        visit(step, param.value, copies[static_cast<std::size_t>(p)], size_of(param.shape));
      }
    }
  };
  each([&](const Step<T>&, T* own, T*& copy, std::int64_t size) {
    memory.emplace_back(size);
    copy = memory.back().data();
    std::copy_n(own, size, copy);
  });
  commit(n, copies);
  each([&](const Step<T>& step, T*, T* copy, std::int64_t size) {
    if (!kernels<T>().all_finite(copy, size)) throw BadStatistics(step.name);
  });
  if (moves) each([&](const Step<T>&, T* own, T* copy, std::int64_t size) { std::copy_n(copy, size, own); });
}

template <class T> double Frame<T>::largest_kept() const {
  double most = 0;
  for (std::size_t s = 0; s < io_.size(); ++s) {
    const std::int64_t kept = plan_->steps()[s].op->sizes().kept;
    if (kept == 0) continue;
    const auto here = static_cast<double>(kernels<T>().max_abs(io_[s].kept, kept));
    if (!(here <= most)) most = here;
    if (!(most >= 0)) return most;
  }
  return most;
}

template <class T> void Frame<T>::bind_input(int v, const T* data) {
  const auto i = static_cast<std::size_t>(plan_->root(v));
  T* pointer = data == nullptr ? own_[i] : const_cast<T*>(data);  // no step writes to an input value
  if (values_[i] == pointer) return;
  values_[i] = pointer;
  for (std::size_t s = 0; s < io_.size(); ++s) {
    const auto& inputs = plan_->steps()[s].inputs;
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      if (inputs[k] == plan_->root(v)) io_[s].x[k] = pointer;
    }
  }
}

template class Frame<float>;
template class Frame<double>;

}  // namespace bp
