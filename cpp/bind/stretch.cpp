// Stretches of sequences (train/stretch.h) in Python's hands: each of one trainer, which has the data of its steps
// while it goes forward.
#include "bind/running.h"
#include "bind/trainer.h"

namespace bp {
namespace {

template <class T> class PyStretch {
 public:
  explicit PyStretch(py::object trainer) : keep_(std::move(trainer)), trainer_(keep_.cast<TrainerHandle<T>&>()) {}

  void forward(const PyStretch* before, const std::vector<std::int64_t>& steps, bool counts) {
    run([&](Trainer<T>& core) { core.forward(stretch_, of(before), steps, counts); });
  }

  void backward(const PyStretch* behind, bool losses, bool penalties, bool add) {
    run([&](Trainer<T>& core) { core.backward(stretch_, of(behind), {losses, penalties, add}); });
  }

  void undo() { trainer_.core().undo(stretch_); }

  // All that backward reads and the next stretch goes on from, as one array; and back from there. None was gone
  // through: the length alone.
  py::array_t<T> kept() {
    py::array_t<T> all(size());
    T* to = all.mutable_data();
    frame().each_kept(stretch_.rows, [&](const T* from, std::int64_t n) { to = std::copy_n(from, n, to); });
    return all;
  }
  std::int64_t size() {
    std::int64_t total = 0;
    frame().each_kept(stretch_.rows, [&](const T*, std::int64_t n) { total += n; });
    return total;
  }
  void make_room(std::int64_t rows) { trainer_.core().make_room(stretch_, rows); }
  void set_kept(const py::array_t<T, py::array::c_style | py::array::forcecast>& all) {
    check(all.size() == size(), "a stretch of another size");
    const T* from = all.data();
    frame().each_kept(stretch_.rows, [&](T* to, std::int64_t n) {
      std::copy_n(from, n, to);
      from += n;
    });
  }
  const py::object& trainer() const { return keep_; }

 private:
  static const Stretch<T>* of(const PyStretch* other) { return other == nullptr ? nullptr : &other->stretch_; }
  Frame<T>& frame() {
    check(stretch_.frame != nullptr, "a stretch has not been gone through, and has no room");
    return *stretch_.frame;
  }
  template <class Work> void run(Work&& work) {
    {
      const Alone alone(trainer_.gate());
      work(trainer_.core());
    }
    if (trainer_.core().diverged() != nullptr) raise_diverged(*trainer_.core().diverged());
  }

  py::object keep_;
  TrainerHandle<T>& trainer_;
  Stretch<T> stretch_;
};

template <class T> void bind(py::module_& m, const char* name) {
  using P = PyStretch<T>;
  py::class_<P>(m, name)
      .def(py::init<py::object>(), py::arg("trainer"))
      .def_property_readonly("trainer", &P::trainer)
      .def_property_readonly("size", &P::size)
      .def("forward", &P::forward, py::arg("before").none(true), py::arg("steps"), py::arg("counts"))
      .def("backward", &P::backward, py::arg("behind").none(true), py::arg("losses"), py::arg("penalties"),
           py::arg("add"))
      .def("undo", &P::undo)
      .def("make_room", &P::make_room, py::arg("rows"))
      .def("kept", &P::kept)
      .def("set_kept", &P::set_kept, py::arg("kept"));
}

}  // namespace

void bind_stretch(py::module_& m) {
  bind<float>(m, "StretchFloat32");
  bind<double>(m, "StretchFloat64");
}

}  // namespace bp
