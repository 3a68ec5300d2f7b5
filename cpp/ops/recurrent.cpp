// simple_rnn, lstm, gru: a cell (ops/recurrent_cells.h) along the axis of time, and backpropagation through time (P.
// Werbos 1990).
//
//   x (N, T, F)   W (F, G U)   R (U, G U)   b (G U), for gru with reset_after (2, G U): b and b'
//   y (N, T, U) with `sequences`, else (N, U): the last h. `states`: (N, T + S, U) or (N, 1 + S, U): after y h (and c)
//   behind the last step further inputs, in this order, as attributes say: `masked` (N, T), 0 where a step does not
//   count; `initial` h0 (N, U) (and c0); `dropped` (N, U), factors of h in the products with R, the same for all steps
//   z_t = x_t W + b;  h_t, c_t = cell(z_t, h_{t-1}, c_{t-1});  backwards: from the last step to the first, y_t at its
//   place A step that does not count leaves h and c as they are, and y_t is 0. delta_t = dL/dz_t back through time;
//   dx_t = delta_t W^T dW = sum of x_t^T delta_t, dR = sum of p_t^T delta_t, db = sum of delta_t over samples and steps
//   (p_t: h_{t-1}, dropped)
// The steps behind a sample's last that counts are not computed. A thread takes its samples through all steps.
// Carried from batch to batch, where that is wanted: h (and c); from initial states on with `carries` alone.
// Kept by step: gates (G U), which backward turns into delta, p (U), for lstm c_{t-1} (U), for gru what is apart (U),
// h_{t-1} (U) if it differs from p. Flops a sample: 2 T (F + U) G U forward, twice that backward and accumulate.
#include "ops/recurrent_tangents.h"

namespace bp {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// Steps whose products with W are made at once, and wait in scratch: with more they would leave the level-2 cache.
constexpr std::int64_t kWindow = 16;

struct Form {
  std::int64_t steps, in;
  bool bias, masked, initial, dropped, sequences, states, backwards;
  bool traced;  // dL/dh_t is left among what is kept, last of a step
  bool stateful;
};

// Some samples in the order of their lengths, longest first: those that a step concerns come first.
template <class T> struct Walk {
  std::int64_t m = 0, longest = 0, active = 0;
  std::array<std::int64_t, kSamplesInStep> row{}, length{};
  std::array<char, kSamplesInStep> held{};

  void begin(Rows rows, std::int64_t steps, const T* mask) {
    m = rows.count();
    for (std::int64_t i = 0; i < m; ++i) {
      const std::int64_t r = rows.begin + i;
      const std::int64_t n = mask == nullptr ? steps : length_of(mask + r * steps, steps);
      std::int64_t k = i;
      for (; k > 0 && length[at(k - 1)] < n; --k) row[at(k)] = row[at(k - 1)], length[at(k)] = length[at(k - 1)];
      row[at(k)] = r, length[at(k)] = n;
    }
    longest = m > 0 ? length[0] : 0;
  }
  void go_to(std::int64_t t, std::int64_t steps, const T* mask) {
    active = 0;
    while (active < m && length[at(active)] > t) ++active;
    for (std::int64_t i = 0; i < active; ++i) held[at(i)] = mask != nullptr && mask[row[at(i)] * steps + t] == T(0);
  }
  static std::int64_t length_of(const T* mask, std::int64_t steps) {
    while (steps > 0 && mask[steps - 1] == T(0)) --steps;
    return steps;
  }
};

template <class T> class Recurrent final : public Op<T> {
 public:
  Recurrent(const Node<T>& node, std::unique_ptr<Cell<T>> cell, const Form& form)
      : cell_(std::move(cell)), form_(form), units_(cell_->units), width_(cell_->width()),
        chunks_({form.steps, 1}, BatchChunks::Layout::kApart),
        products_(kernels<T>().products[static_cast<int>(cell_->compute)]) {
    const std::int64_t y = (form.sequences ? form.steps : 1) * units_;
    if (form.states) {
      this->sizes_.shape = {y / units_ + cell_->states, units_};
    } else {
      this->sizes_.shape = form.sequences ? Shape{form.steps, units_} : Shape{units_};
    }
    y_size_ = y, row_size_ = size_of(this->sizes_.shape);
    operand_at_ = width_;
    h_at_ = form.dropped ? operand_at_ + units_ : operand_at_;
    c_at_ = h_at_ + units_;
    aux_at_ = c_at_ + (cell_->states > 1 ? units_ : 0);
    step_size_ = aux_at_ + (cell_->apart < width_ ? units_ : 0);
    traced_at_ = step_size_;
    if (form.traced) step_size_ += units_;
    // The steps of samples follow each other, in what is kept as in x: a chunk of samples is one run of rows. (Terms
    // that a product takes at once must not come from two samples.)
    if (!form.masked && form.steps <= BatchChunks::kPositions && form.steps % terms_at_once(cell_->compute) == 0) {
      whole_ = BatchChunks::kSamples * form.steps;
    }
    this->sizes_.saved = form.steps * step_size_;
    this->sizes_.carried = form.initial && !node.flag("carries") ? 0 : cell_->states * units_;
    this->facts_.stateful = form.stateful;
    this->facts_.compute = cell_->compute;
    this->sizes_.flops = 2 * form.steps * (form.in + units_) * width_;
    this->sizes_.together = kSamplesInStep;
    next_input_ = form.masked ? 2 : 1;
    this->facts_.differential = Differential::kOwn;
    tangents_ = std::make_unique<RecurrentTangents<T>>(node, layout());
  }

  std::int64_t scratch(std::int64_t rows) const override {
    const std::int64_t m = std::min(rows, kSamplesInStep);
    return std::max({Forward(*this, nullptr, m).size(), Backward(*this, nullptr, m).size(), tangents_->scratch()});
  }

  void forward(const Io<T>& io, const Block& block, T* scratch) const override {
    for (std::int64_t r = block.rows.begin; r < block.rows.end; r += kSamplesInStep) {
      forward_some(io, {r, std::min(r + kSamplesInStep, block.rows.end)}, scratch);
    }
  }

  void backward(const Io<T>& io, const Block& block, T* scratch) const override {
    for (std::int64_t r = block.rows.begin; r < block.rows.end; r += kSamplesInStep) {
      backward_some(io, {r, std::min(r + kSamplesInStep, block.rows.end)}, scratch);
    }
  }

  void forward_tangent(const Io<T>& io, const Io<T>& t, Rows rows, T* scratch) const override {
    tangents_->forward(io, t, rows, scratch);
  }
  void backward_tangent(const Io<T>& io, const Io<T>& t, Rows rows, T* scratch) const override {
    tangents_->backward(io, t, rows, scratch);
  }
  void accumulate_tangent(const Io<T>& io, const Io<T>& t, int param, Rows rows, T* g, bool add) const override {
    tangents_->accumulate(io, t, param, rows, g, add);
  }

  std::int64_t accumulate_scratch(int, const Tile& tile, std::int64_t rows) const override {
    Matmul<T> p{};
    p.m = tile.rows.count(), p.n = tile.columns.count(), p.a_transposed = true;
    p.k = whole_ > 0 ? rows * form_.steps : BatchChunks::kPositions;
    p.chunk = whole_, p.add = whole_ > 0;
    return chunks_.template scratch<T>(tile.size()) + products_.most_scratch(p);
  }

  void accumulate(const Io<T>& io, int param, const Tile& tile, Rows rows, T* g, bool add, T* scratch) const override {
    T* const rest = scratch + chunks_.template scratch<T>(tile.size());
    if (whole_ > 0) {
      const Rows positions{0, rows.count() * form_.steps};
      return add_piece(io, param, tile, rows.begin, positions, adding(add), whole_, g, rest);
    }
    chunks_.sum_pieces(rows, tile.size(), g, add, scratch, [&](Rows positions, Chain chain, T* to) {
      const std::int64_t sample = positions.begin / form_.steps, first = positions.begin % form_.steps;
      const std::int64_t n = std::min(length(io, sample) - first, positions.count());
      if (n > 0) return add_piece(io, param, tile, sample, {first, first + n}, chain, 0, to, rest);
      if (chain == Chain::kStarts) std::fill_n(to, tile.size(), T(0));
    });
  }

 private:
  // What a call takes of scratch.
  struct Forward {
    T *h, *c, *operand, *x, *z, *cell, *product;
    Parts<T> parts;
    Forward(const Recurrent& op, T* scratch, std::int64_t m) : parts(scratch) {
      h = parts.take(m * op.units_), c = parts.take(m * op.units_), operand = parts.take(m * op.units_);
      const std::int64_t steps = std::min(kWindow, op.form_.steps);
      x = parts.take(m * steps * op.form_.in), z = parts.take(m * steps * op.width_);
      cell = parts.take(op.cell_->scratch(m));
      product = parts.take(op.products_.most_scratch(op.input_product(nullptr, nullptr, m * steps, 1)));
    }
    std::int64_t size() const { return parts.taken(); }
  };
  struct Backward {
    T *dh, *dc, *dp, *delta, *r_turned, *w_turned, *cell, *product;
    Parts<T> parts;
    Backward(const Recurrent& op, T* scratch, std::int64_t m) : parts(scratch) {
      dh = parts.take(m * op.units_), dc = parts.take(m * op.units_), dp = parts.take(m * op.units_);
      delta = parts.take(m * op.width_);
      r_turned = parts.take(op.width_ * op.units_), w_turned = parts.take(op.width_ * op.form_.in);
      cell = parts.take(op.cell_->scratch(m));
      Matmul<T> most = op.dx_product(nullptr, nullptr, m * op.form_.steps);
      most.add = true;
      product = parts.take(op.products_.most_scratch(most));
    }
    std::int64_t size() const { return parts.taken(); }
  };

  RecurrentLayout layout() const {
    return {form_.steps,   form_.in,        units_,       width_,          y_size_,
            row_size_,     step_size_,      operand_at_,  h_at_,           c_at_,
            aux_at_,       cell_->apart,    form_.bias,   form_.masked,    form_.initial,
            form_.dropped, form_.sequences, form_.states, form_.backwards, cell_->operand_apart,
            cell_->states, next_input_};
  }
  const T* mask(const Io<T>& io) const { return form_.masked ? io.x[1] : nullptr; }
  std::int64_t length(const Io<T>& io, std::int64_t sample) const {
    return form_.masked ? Walk<T>::length_of(mask(io) + sample * form_.steps, form_.steps) : form_.steps;
  }
  std::size_t state_input(int k) const { return at(next_input_ + k); }
  const T* drop(const Io<T>& io, std::int64_t row) const {
    return form_.dropped ? io.x[at(next_input_ + (form_.initial ? cell_->states : 0))] + row * units_ : nullptr;
  }
  T* saved(const Io<T>& io, std::int64_t row, std::int64_t t) const {
    return io.saved + (row * form_.steps + t) * step_size_;
  }

  // Of `steps` steps of a sample: z = x W + b, its rows m samples apart.
  Matmul<T> input_product(const T* x, T* z, std::int64_t steps, std::int64_t m) const {
    Matmul<T> p{};
    p.m = steps, p.n = width_, p.k = form_.in;
    p.a = x, p.lda = form_.in;
    p.ldb = width_;
    p.c = z, p.ldc = m * width_;
    return p;
  }
  Matmul<T> dx_product(const T* delta, T* dx, std::int64_t steps) const {
    Matmul<T> p{};
    p.m = steps, p.n = form_.in, p.k = width_;
    p.a = delta, p.lda = step_size_;
    p.ldb = form_.in;
    p.c = dx, p.ldc = form_.in;
    return p;
  }

  void forward_some(const Io<T>& io, Rows rows, T* scratch) const {
    Walk<T> walk;
    walk.begin(rows, form_.steps, mask(io));
    const Forward use(*this, scratch, walk.m);
    for (std::int64_t i = 0; i < walk.m; ++i) {
      for (int k = 0; k < cell_->states; ++k) {
        T* to = (k == 0 ? use.h : use.c) + i * units_;
        if (form_.initial) {
          std::copy_n(io.x[state_input(k)] + walk.row[at(i)] * units_, units_, to);
        } else if (io.carried != nullptr) {
          std::copy_n(io.carried + (walk.row[at(i)] * cell_->states + k) * units_, units_, to);
        } else {
          std::fill_n(to, units_, T(0));
        }
      }
      if (!form_.sequences) continue;
      const std::int64_t end = walk.length[at(i)];
      std::fill_n(io.y + walk.row[at(i)] * row_size_ + end * units_, (form_.steps - end) * units_, T(0));
    }
    for (std::int64_t done = 0; done < walk.longest; done += kWindow) {
      const std::int64_t n = std::min(kWindow, walk.longest - done);
      const std::int64_t first = form_.backwards ? walk.longest - done - n : done;
      project(io, walk, {first, first + n}, use);
      for (std::int64_t k = 0; k < n; ++k) {
        const std::int64_t t = form_.backwards ? first + n - 1 - k : first + k;
        forward_step(io, walk, t, use.z + (t - first) * walk.m * width_, use);
      }
    }
    finish_forward(io, walk, use);
  }

  // Of all samples at once where all have these steps: their rows are put in the order of z, so that W is read once.
  void project(const Io<T>& io, const Walk<T>& walk, Rows steps, const Forward& use) const {
    if (walk.m > 1 && walk.length[at(walk.m - 1)] >= steps.end) {
      for (std::int64_t i = 0; i < walk.m; ++i) {
        const T* x = io.x[0] + (walk.row[at(i)] * form_.steps + steps.begin) * form_.in;
        for (std::int64_t t = 0; t < steps.count(); ++t) {
          std::copy_n(x + t * form_.in, form_.in, use.x + (t * walk.m + i) * form_.in);
        }
      }
      return run_input_product(io, input_product(use.x, use.z, steps.count() * walk.m, 1), use);
    }
    for (std::int64_t i = 0; i < walk.m; ++i) {
      const std::int64_t n = std::min(steps.end, walk.length[at(i)]) - steps.begin;
      if (n <= 0) break;
      const T* x = io.x[0] + (walk.row[at(i)] * form_.steps + steps.begin) * form_.in;
      run_input_product(io, input_product(x, use.z + i * width_, n, walk.m), use);
    }
  }
  void run_input_product(const Io<T>& io, Matmul<T> p, const Forward& use) const {
    p.b = io.w[0];
    if (form_.bias) p.bias = io.w[2];
    p.scratch = use.product;
    products_.run(p);
  }

  void forward_step(const Io<T>& io, Walk<T>& walk, std::int64_t t, T* z, const Forward& use) const {
    walk.go_to(t, form_.steps, mask(io));
    CellStep<T> s;
    s.m = walk.active, s.held = walk.held.data();
    s.r = io.w[1], s.bias = recurrent_bias(io);
    s.h = use.h, s.c = use.c, s.operand = form_.dropped ? use.operand : use.h;
    s.z = z, s.scratch = use.cell, s.keeps = io.saved != nullptr;
    for (std::int64_t i = 0; i < s.m; ++i) {
      const std::int64_t row = walk.row[at(i)];
      if (form_.dropped) {
        kernels<T>().binary[static_cast<int>(Binary::kMultiply)](use.h + i * units_, 1, drop(io, row), 1,
                                                                 use.operand + i * units_, units_);
      }
      if (io.saved == nullptr) continue;
      T* const kept = saved(io, row, t);
      s.gates[at(i)] = kept, s.aux[at(i)] = kept + aux_at_;
      std::copy_n(s.operand + i * units_, units_, kept + operand_at_);
      std::copy_n(use.h + i * units_, units_, kept + h_at_);
      if (cell_->states > 1) std::copy_n(use.c + i * units_, units_, kept + c_at_);
    }
    cell_->forward(s);
    for (std::int64_t i = 0; form_.sequences && i < s.m; ++i) {
      T* const y = io.y + walk.row[at(i)] * row_size_ + t * units_;
      if (walk.held[at(i)]) {
        std::fill_n(y, units_, T(0));
      } else {
        std::copy_n(use.h + i * units_, units_, y);
      }
    }
  }

  const T* recurrent_bias(const Io<T>& io) const {
    return form_.bias && cell_->apart < width_ && !cell_->operand_apart ? io.w[2] + width_ : nullptr;
  }

  void finish_forward(const Io<T>& io, const Walk<T>& walk, const Forward& use) const {
    for (std::int64_t i = 0; i < walk.m; ++i) {
      T* const y = io.y + walk.row[at(i)] * row_size_;
      if (!form_.sequences) std::copy_n(use.h + i * units_, units_, y);
      for (int k = 0; k < cell_->states; ++k) {
        const T* const state = (k == 0 ? use.h : use.c) + i * units_;
        if (form_.states) std::copy_n(state, units_, y + y_size_ + k * units_);
        if (io.carries != nullptr) {
          std::copy_n(state, units_, io.carries + (walk.row[at(i)] * cell_->states + k) * units_);
        }
      }
    }
  }

  void backward_some(const Io<T>& io, Rows rows, T* scratch) const {
    Walk<T> walk;
    walk.begin(rows, form_.steps, mask(io));
    const Backward use(*this, scratch, walk.m);
    kernels<T>().transpose(io.w_back[1], width_, use.r_turned, units_, units_, width_);
    for (std::int64_t i = 0; i < walk.m; ++i) {
      const T* dy = io.dy + walk.row[at(i)] * row_size_;
      T *dh = use.dh + i * units_, *dc = use.dc + i * units_;
      for (int k = 0; k < cell_->states; ++k) {
        T* const d = k == 0 ? dh : dc;
        if (io.dcarries != nullptr) {
          std::copy_n(io.dcarries + (walk.row[at(i)] * cell_->states + k) * units_, units_, d);
        } else {
          std::fill_n(d, units_, T(0));
        }
      }
      for (std::int64_t t = walk.length[at(i)]; form_.traced && t < form_.steps; ++t) {
        std::fill_n(saved(io, walk.row[at(i)], t) + traced_at_, units_, T(0));
      }
      if (!form_.sequences) kernels<T>().axpy(T(1), dy, dh, units_);
      if (form_.states) kernels<T>().axpy(T(1), dy + y_size_, dh, units_);
      if (form_.states && cell_->states > 1) kernels<T>().axpy(T(1), dy + y_size_ + units_, dc, units_);
    }
    for (std::int64_t k = 0; k < walk.longest; ++k) {
      backward_step(io, walk, form_.backwards ? k : walk.longest - 1 - k, use);
    }
    for (int k = 0; form_.initial && k < cell_->states; ++k) {
      give(io, state_input(k), walk, units_, k == 0 ? use.dh : use.dc);
    }
    for (std::int64_t i = 0; io.dcarried != nullptr && i < walk.m; ++i) {
      for (int k = 0; k < cell_->states; ++k) {
        const T* const d = (k == 0 ? use.dh : use.dc) + i * units_;
        std::copy_n(d, units_, io.dcarried + (walk.row[at(i)] * cell_->states + k) * units_);
      }
    }
    for (std::size_t k = 1; k < io.dx.size(); ++k) {
      const bool state = form_.initial && k >= state_input(0) && k < state_input(cell_->states);
      if (!state)
        give(io, k, walk, form_.masked && k == 1 ? form_.steps : units_, nullptr);  // factors have no gradient
    }
    if (io.dx[0] != nullptr) find_dx(io, walk, use);
  }

  void backward_step(const Io<T>& io, Walk<T>& walk, std::int64_t t, const Backward& use) const {
    walk.go_to(t, form_.steps, mask(io));
    CellStep<T> s;
    s.m = walk.active, s.held = walk.held.data();
    s.r_turned = use.r_turned;
    s.h = use.dh, s.c = use.dc, s.z = use.delta, s.dp = use.dp, s.scratch = use.cell;
    for (std::int64_t i = 0; i < s.m; ++i) {
      T* const kept = saved(io, walk.row[at(i)], t);
      s.gates[at(i)] = kept, s.aux[at(i)] = kept + aux_at_;
      s.operand_before[at(i)] = kept + operand_at_, s.h_before[at(i)] = kept + h_at_, s.c_before[at(i)] = kept + c_at_;
      if (!form_.sequences || walk.held[at(i)]) continue;
      kernels<T>().axpy(T(1), io.dy + walk.row[at(i)] * row_size_ + t * units_, use.dh + i * units_, units_);
    }
    for (std::int64_t i = 0; form_.traced && i < s.m; ++i) {
      std::copy_n(use.dh + i * units_, units_, saved(io, walk.row[at(i)], t) + traced_at_);
    }
    cell_->backward(s);
    if (!form_.dropped) return kernels<T>().axpy(T(1), use.dp, use.dh, s.m * units_);
    for (std::int64_t i = 0; i < s.m; ++i) {
      kernels<T>().multiply_add(use.dp + i * units_, drop(io, walk.row[at(i)]), use.dh + i * units_, units_);
    }
  }

  // dx[k] of these samples is, or gets added, d (m, n); null: zeros.
  void give(const Io<T>& io, std::size_t k, const Walk<T>& walk, std::int64_t n, const T* d) const {
    if (io.dx[k] == nullptr) return;
    for (std::int64_t i = 0; i < walk.m; ++i) {
      T* const dx = io.dx[k] + walk.row[at(i)] * n;
      if (io.add[k]) {
        if (d != nullptr) kernels<T>().axpy(T(1), d + i * n, dx, n);
      } else if (d != nullptr) {
        std::copy_n(d + i * n, n, dx);
      } else {
        std::fill_n(dx, n, T(0));
      }
    }
  }

  void find_dx(const Io<T>& io, const Walk<T>& walk, const Backward& use) const {
    kernels<T>().transpose(io.w_back[0], width_, use.w_turned, form_.in, form_.in, width_);
    if (!form_.masked) {  // the samples follow each other
      const std::int64_t row = walk.row[0];
      Matmul<T> p = dx_product(saved(io, row, 0), io.dx[0] + row * form_.steps * form_.in, walk.m * form_.steps);
      p.b = use.w_turned, p.add = io.add[0], p.scratch = use.product;
      return products_.run(p);
    }
    for (std::int64_t i = 0; i < walk.m; ++i) {
      const std::int64_t row = walk.row[at(i)], n = walk.length[at(i)];
      T* const dx = io.dx[0] + row * form_.steps * form_.in;
      Matmul<T> p = dx_product(saved(io, row, 0), dx, n);
      p.b = use.w_turned, p.add = io.add[0], p.scratch = use.product;
      if (n > 0) products_.run(p);
      if (!io.add[0]) std::fill_n(dx + n * form_.in, (form_.steps - n) * form_.in, T(0));
    }
  }

  // A piece of a parameter's gradient: of some steps of one sample, or of whole samples that follow it, in chunks.
  void add_piece(const Io<T>& io, int param, const Tile& tile, std::int64_t sample, Rows steps, Chain chain,
                 std::int64_t chunk, T* to, T* scratch) const {
    const std::int64_t columns = tile.columns.count();
    const T* const kept = saved(io, sample, steps.begin);
    each_side(tile.columns, param == 1 || param == 2, [&](Rows part, bool apart) {
      const std::int64_t offset = part.begin - tile.columns.begin;
      if (param < 2) {
        const T* a = param == 0 ? io.x[0] + (sample * form_.steps + steps.begin) * form_.in : kept + operand_at_;
        if (param == 1 && apart && cell_->operand_apart) a = kept + aux_at_;
        Matmul<T> p{};
        p.m = tile.rows.count(), p.n = part.count(), p.k = steps.count();
        p.a = a + tile.rows.begin, p.lda = param == 0 ? form_.in : step_size_, p.a_transposed = true;
        p.b = delta(kept, part.begin, param == 1 && apart), p.ldb = step_size_;
        p.c = to + offset, p.ldc = columns;
        p.goes_on = chain == Chain::kGoesOn, p.add = chain == Chain::kAdds, p.chunk = chunk, p.scratch = scratch;
        return products_.run(p);
      }
      for (std::int64_t row = tile.rows.begin; row < tile.rows.end; ++row) {  // b, and b' of its own delta
        const T* d = delta(kept, part.begin, row == 1 && apart);
        T* const sum = to + (row - tile.rows.begin) * columns + offset;
        kernels<T>().column_sum(d, step_size_, sum, steps.count(), part.count(), chunk, chain);
      }
    });
  }

  // What reached column `column` of the products with W, or with R.
  const T* delta(const T* kept, std::int64_t column, bool of_r) const {
    return of_r && !cell_->operand_apart ? kept + aux_at_ + column - cell_->apart : kept + column;
  }

  // f(columns, whether they are apart) of the columns on either side of where that begins.
  template <class F> void each_side(Rows columns, bool cuts, F f) const {
    const std::int64_t cut = cuts ? std::clamp(cell_->apart, columns.begin, columns.end) : columns.end;
    if (cut > columns.begin) f(Rows{columns.begin, cut}, false);
    if (cut < columns.end) f(Rows{cut, columns.end}, true);
  }

  std::unique_ptr<Cell<T>> cell_;
  std::unique_ptr<RecurrentTangents<T>> tangents_;
  Form form_;
  std::int64_t units_, width_;
  BatchChunks chunks_;
  const Products<T>& products_;
  std::int64_t y_size_ = 0, row_size_ = 0, step_size_ = 0;
  std::int64_t whole_ = 0;  // positions of a chunk, where it is one run of rows
  std::int64_t operand_at_ = 0, h_at_ = 0, c_at_ = 0, aux_at_ = 0, traced_at_ = 0;  // in what is kept of a step
  int next_input_ = 1;
};

}  // namespace

template <class T> OpPtr<T> make_recurrent(const Node<T>& node) {
  const Shapes &xs = node.xs, &ws = node.ws;
  node.expect(!xs.empty() && xs[0].size() == 2, "expected x of rank 2 a sample: steps, features");
  Form form{};
  form.steps = xs[0][0], form.in = xs[0][1];
  form.masked = node.flag("masked"), form.initial = node.flag("initial"), form.dropped = node.flag("dropped");
  form.sequences = node.flag("sequences"), form.states = node.flag("states"), form.backwards = node.flag("backwards");
  form.traced = node.flag("traced"), form.stateful = node.flag("stateful");
  node.expect(ws.size() == 2 || ws.size() == 3, "expected a kernel, a recurrent kernel and perhaps a bias");
  node.expect(ws[1].size() == 2 && ws[1][0] > 0, "the recurrent kernel needs rank 2");
  auto cell = make_cell(node, ws[1][0]);
  const std::int64_t width = cell->width(), units = cell->units;
  node.expect(ws[0] == Shape{form.in, width} && ws[1] == Shape{units, width},
              "a kernel does not fit the input or the units");
  form.bias = ws.size() == 3;
  const bool two = cell->apart < width && !cell->operand_apart;
  node.expect(!form.bias || ws[2] == (two ? Shape{2, width} : Shape{width}), "the bias does not fit the units");
  std::size_t k = 1;
  const auto take = [&](bool there, const Shape& shape, const char* what) {
    if (!there) return;
    node.expect(k < xs.size() && xs[k] == shape, std::string("an input does not fit: ") + what);
    ++k;
  };
  take(form.masked, {form.steps}, "the mask");
  for (int s = 0; s < cell->states; ++s) take(form.initial, {units}, "an initial state");
  take(form.dropped, {units}, "the factors of dropout");
  node.expect(k == xs.size(), "got more inputs than the attributes say");
  return std::make_unique<Recurrent<T>>(node, std::move(cell), form);
}
BP_INSTANTIATE_MAKER(make_recurrent)

}  // namespace bp
