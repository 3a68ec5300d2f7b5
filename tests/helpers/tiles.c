/* The tile instructions that bpcore uses (AMX-TILE, AMX-BF16), for a CPU that has none.
 *
 * Such a CPU stops a program at the first of them with SIGILL. The handler that install() sets reads the instruction,
 * does what the Intel 64 manual (volume 2: LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TILERELEASE, TDPBF16PS) says of
 * it, and lets the program go on behind it; any other instruction ends the program as before. What a CPU would refuse
 * (a tile without a shape, shapes that do not fit, a bad configuration) aborts with a line that says what it was.
 * tests/test_tiles.py compares product() with the instruction itself where the CPU has it. */
#define _GNU_SOURCE
#include <immintrin.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

enum { kTiles = 8, kRows = 16, kBytes = 64, kThreads = 256 };

typedef struct {
  _Atomic(uintptr_t) thread; /* whose it is; 0: nobody's */
  int configured;
  uint16_t colsb[kTiles];
  uint8_t rows[kTiles];
  uint8_t data[kTiles][kRows][kBytes];
} Unit;

static Unit units[kThreads];
static _Atomic long counts[6];
static struct sigaction before;

enum { kLoadConfig, kRelease, kZero, kLoad, kStore, kDot };

static void refuse(const char* what) {
  if (write(2, "tiles: ", 7) < 0 || write(2, what, strlen(what)) < 0 || write(2, "\n", 1) < 0) _exit(3);
  abort();
}

static Unit* my_unit(void) {
  uintptr_t me;
  __asm__("mov %%fs:0, %0" : "=r"(me));
  for (int i = 0; i < kThreads; ++i) {
    uintptr_t owner = atomic_load(&units[i].thread);
    if (owner == me) return &units[i];
    if (owner == 0 && atomic_compare_exchange_strong(&units[i].thread, &owner, me)) return &units[i];
    if (owner == me) return &units[i];
  }
  refuse("too many threads");
  return NULL;
}

static void load_config(Unit* u, const uint8_t* p) {
  if (p[0] != 1) refuse("a palette other than 1");
  for (int i = 1; i < 16; ++i) {
    if (p[i] != 0) refuse("a start row or reserved bytes that are not 0");
  }
  for (int i = 32; i < 48; ++i) {
    if (p[i] != 0) refuse("a shape of a tile that does not exist");
  }
  for (int i = 56; i < 64; ++i) {
    if (p[i] != 0) refuse("rows of a tile that does not exist");
  }
  for (int t = 0; t < kTiles; ++t) {
    uint16_t colsb;
    memcpy(&colsb, p + 16 + 2 * t, 2);
    if (colsb > kBytes || p[48 + t] > kRows || (colsb == 0) != (p[48 + t] == 0)) refuse("a bad shape of a tile");
    u->colsb[t] = colsb, u->rows[t] = p[48 + t];
  }
  memset(u->data, 0, sizeof(u->data));
  u->configured = 1;
}

static void need(const Unit* u, int t) {
  if (!u->configured) refuse("tiles are used before they are configured");
  if (t >= kTiles || u->rows[t] == 0) refuse("a tile without a shape");
}

static void load_tile(Unit* u, int t, const uint8_t* base, int64_t stride) {
  need(u, t);
  memset(u->data[t], 0, sizeof(u->data[t]));
  for (int i = 0; i < u->rows[t]; ++i) memcpy(u->data[t][i], base + i * stride, u->colsb[t]);
}

static void store_tile(Unit* u, int t, uint8_t* base, int64_t stride) {
  need(u, t);
  for (int i = 0; i < u->rows[t]; ++i) memcpy(base + i * stride, u->data[t][i], u->colsb[t]);
}

static float widened(uint16_t half) {
  uint32_t bits = (uint32_t)half << 16;
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

/* Each element's products go to two sums from zero, of the even and of the odd terms, one fused multiply-add each;
 * then the two are added, and to what the tile holds. A function of its own, so that no arithmetic moves out of the
 * mode in which dot() calls it. */
static __attribute__((noinline)) void add_products(Unit* u, int c, int a, int b) {
  for (int i = 0; i < u->rows[c]; ++i) {
    uint16_t of_a[kBytes / 2], of_b[kBytes / 2];
    float even[kRows] = {0}, odd[kRows] = {0}, sum[kRows];
    memcpy(of_a, u->data[a][i], kBytes);
    for (int k = 0; k < u->colsb[a] / 4; ++k) {
      memcpy(of_b, u->data[b][k], kBytes);
      const float x = widened(of_a[2 * k]), y = widened(of_a[2 * k + 1]);
      for (int j = 0; j < kRows; ++j) {
        even[j] = __builtin_fmaf(x, widened(of_b[2 * j]), even[j]);
        odd[j] = __builtin_fmaf(y, widened(of_b[2 * j + 1]), odd[j]);
      }
    }
    memcpy(sum, u->data[c][i], kBytes);
    for (int j = 0; j < u->colsb[c] / 4; ++j) sum[j] += even[j] + odd[j];
    memcpy(u->data[c][i], sum, kBytes);
  }
}

static void dot(Unit* u, int c, int a, int b) {
  need(u, c), need(u, a), need(u, b);
  if (c == a || c == b || a == b) refuse("a product of a tile with itself");
  if (u->rows[c] != u->rows[a] || u->colsb[c] != u->colsb[b] || u->colsb[a] / 4 != u->rows[b]) {
    refuse("shapes of a product that do not fit");
  }
  if (u->colsb[a] % 4 != 0 || u->colsb[b] % 4 != 0) refuse("columns that are no pairs");
  const unsigned state = _mm_getcsr();
  _mm_setcsr(0x9fc0); /* no exceptions, to nearest even; subnormal numbers are zero, going in and coming out */
  add_products(u, c, a, b);
  _mm_setcsr(state);
}

static int64_t value_of(const ucontext_t* context, int number) {
  static const int place[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return context->uc_mcontext.gregs[place[number]];
}

/* An operand in memory: its address without the index register, that register's value times the scale, and the
 * operand's bytes behind the byte that names it. */
typedef struct {
  uint8_t* base;
  int64_t stride;
  int bytes;
} Memory;

static Memory operand(const ucontext_t* context, const uint8_t* p) {
  const int mode = p[4] >> 6, low = p[4] & 7;
  const int index_high = (p[1] >> 6 & 1) ? 0 : 8, base_high = (p[1] >> 5 & 1) ? 0 : 8;
  Memory m = {0, 0, 0};
  int64_t base = 0;
  int32_t far_away = 0;
  int8_t near_by = 0;
  if (low == 4) {
    const int scale = p[5] >> 6, index = (p[5] >> 3 & 7) + index_high, number = p[5] & 7;
    m.bytes = 1;
    if (index != 4) m.stride = value_of(context, index) * (1 << scale);
    if (mode == 0 && number == 5) {
      memcpy(&far_away, p + 6, 4);
      m.bytes += 4, m.base = (uint8_t*)(intptr_t)far_away;
      return m;
    }
    base = value_of(context, number + base_high);
  } else if (mode == 0 && low == 5) {
    memcpy(&far_away, p + 5, 4);
    m.bytes = 4, m.base = (uint8_t*)p + 9 + far_away; /* from the end of the instruction */
    return m;
  } else {
    base = value_of(context, low + base_high);
  }
  if (mode == 1) {
    memcpy(&near_by, p + 5 + m.bytes, 1);
    m.bytes += 1, base += near_by;
  } else if (mode == 2) {
    memcpy(&far_away, p + 5 + m.bytes, 4);
    m.bytes += 4, base += far_away;
  }
  m.base = (uint8_t*)base;
  return m;
}

static int done(int which, int bytes) {
  atomic_fetch_add(&counts[which], 1);
  return bytes;
}

/* Does the instruction at p; its length, or 0 where it is none of ours. */
static int perform(const ucontext_t* context, const uint8_t* p) {
  if (p[0] != 0xc4 || (p[1] & 0x1f) != 2 || (p[2] & 0x84) != 0) return 0; /* three bytes of VEX, 0F38, W0, 128 bits */
  const int prefix = p[2] & 3, other = ~(p[2] >> 3) & 15, tile = p[4] >> 3 & 7, in_registers = p[4] >> 6 == 3;
  if (p[3] == 0x49 && prefix == 0 && p[4] == 0xc0) {
    my_unit()->configured = 0;
    return done(kRelease, 5);
  }
  if (p[3] == 0x49 && prefix == 3 && in_registers && (p[4] & 7) == 0) {
    Unit* const u = my_unit();
    need(u, tile);
    memset(u->data[tile], 0, sizeof(u->data[tile]));
    return done(kZero, 5);
  }
  if (p[3] == 0x5c && prefix == 2 && in_registers) {
    dot(my_unit(), tile, p[4] & 7, other);
    return done(kDot, 5);
  }
  if (in_registers) return 0;
  Memory m = operand(context, p);
  if (p[3] == 0x49 && prefix == 0 && tile == 0) {
    load_config(my_unit(), m.base + m.stride);
    return done(kLoadConfig, 5 + m.bytes);
  }
  if (p[3] != 0x4b || (p[4] & 7) != 4) return 0;
  if (prefix == 3 || prefix == 1) {
    load_tile(my_unit(), tile, m.base, m.stride);
    return done(kLoad, 5 + m.bytes);
  }
  if (prefix == 2) {
    store_tile(my_unit(), tile, m.base, m.stride);
    return done(kStore, 5 + m.bytes);
  }
  return 0;
}

/* Does all that follow each other: a signal takes far longer than an instruction. */
static void on_illegal(int signal, siginfo_t* info, void* data) {
  ucontext_t* const context = data;
  greg_t* const at = &context->uc_mcontext.gregs[REG_RIP];
  int bytes = perform(context, (const uint8_t*)*at);
  (void)signal, (void)info;
  if (bytes == 0) sigaction(SIGILL, &before, NULL); /* the instruction comes again, and means what it did */
  for (; bytes != 0; bytes = perform(context, (const uint8_t*)*at)) *at += bytes;
}

/* c (16 x 16) += a (16 x 32) b (32 x 16), b with its rows paired, without an instruction. */
void product(const uint16_t* a, const uint16_t* b, float* c) {
  Unit* const u = calloc(1, sizeof(Unit));
  if (u == NULL) refuse("no memory");
  u->configured = 1;
  for (int t = 0; t < 3; ++t) u->rows[t] = kRows, u->colsb[t] = kBytes;
  load_tile(u, 0, (const uint8_t*)c, kBytes);
  load_tile(u, 1, (const uint8_t*)a, kBytes);
  load_tile(u, 2, (const uint8_t*)b, kBytes);
  dot(u, 0, 1, 2);
  store_tile(u, 0, (uint8_t*)c, kBytes);
  free(u);
}

int install(void) {
  struct sigaction action;
  memset(&action, 0, sizeof(action));
  action.sa_sigaction = on_illegal;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  return sigaction(SIGILL, &action, &before);
}

int uninstall(void) { return sigaction(SIGILL, &before, NULL); }

/* How many instructions of a kind were done: configurations, releases, zeros, loads, stores, products. */
long count(int which) { return atomic_load(&counts[which]); }
