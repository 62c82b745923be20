/* A pool of worker threads. They start when a run first needs them, and stay; a run owns its workers until it ends. */
#include "fastgru/pool.h"

#include <string.h>

#include "system.h"

#define FG_WORKERS 256
#define FG_STACK (1 << 20) /* kernels use less than 64 KiB */
#define FG_SPIN_NS 30000   /* what it saves: waking a sleeper on another CPU took about 30 us on a virtual Xeon */

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory"); /* yield is a no-op on most cores */
#else
  __asm__ volatile("" ::: "memory");
#endif
}

/* How this thread rounds, and whether it takes subnormal numbers for zero. Libraries change that, and threads inherit it
 * from whoever starts them: without the caller's mode a part could give other bits. */
static uint64_t arithmetic_mode(void) {
#if defined(__x86_64__) || defined(__i386__)
  return __builtin_ia32_stmxcsr() & ~0x3Fu; /* without the flags of what has happened */
#elif defined(__aarch64__)
  uint64_t mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
#else
  return 0;
#endif
}

static void set_arithmetic_mode(uint64_t mode) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_ldmxcsr((unsigned)mode);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" ::"r"(mode));
#else
  (void)mode;
#endif
}

static atomic_int crowded; /* the runs have more parts than there are CPUs: who spins is in the way */

/* Everything waits on a word that counts events in steps of 2. Bit 0: somebody sleeps on it. */
static void advance(atomic_uint *word) {
  unsigned next = (atomic_load_explicit(word, memory_order_relaxed) | 1) + 1;
  if (atomic_exchange_explicit(word, next, memory_order_acq_rel) & 1) unpark(word);
}

/* Polls for a while; whether *word has advanced from `old`. */
static int spin(atomic_uint *word, unsigned old) {
  int64_t start = 0;
  while (!atomic_load_explicit(&crowded, memory_order_relaxed)) {
    for (int i = 0; i < 16; i++) {
      if ((atomic_load_explicit(word, memory_order_acquire) & ~1u) != old) return 1;
      relax();
    }
    int64_t now = fg_now();
    if (!start) start = now;
    if (now - start > FG_SPIN_NS) break;
  }
  return 0;
}

/* Returns when *word has advanced from `old`, an even number. *vain counts the waits since a spin last paid: where
 * other programs leave one CPU to two parts, none does, as each keeps the other from running. A barrier of 2 parts
 * took 30 to 240 us there, and mostly 1 to 6 without spins; one in 64 finds out when that is over. */
static void await(atomic_uint *word, unsigned old, unsigned *vain) {
  if ((*vain < 4 || *vain % 64 == 0) && spin(word, old)) {
    *vain = 0;
    return;
  }
  ++*vain;
  for (;;) {
    unsigned seen = atomic_load_explicit(word, memory_order_acquire);
    if ((seen & ~1u) != old) return;
    if (seen == old && !atomic_compare_exchange_strong_explicit(word, &seen, old | 1, memory_order_relaxed,
                                                                memory_order_relaxed))
      continue;
    park(word, old | 1);
  }
}

/* Of the waits for other parts. In static memory of the thread: else its first use allocates, and glibc ends the process
 * where that fails. */
#ifdef __GLIBC__ /* keeps room for it in libraries that are loaded later; musl has none, and refuses to load them */
static _Thread_local unsigned vain __attribute__((tls_model("initial-exec")));
#else
static _Thread_local unsigned vain;
#endif

void fg_barrier_init(fg_barrier *b, int parts) {
  b->parts = parts;
  atomic_init(&b->missing, parts);
  atomic_init(&b->phase, 0);
}

void fg_barrier_wait(fg_barrier *b) {
  unsigned phase = atomic_load_explicit(&b->phase, memory_order_relaxed) & ~1u;
  if (atomic_fetch_sub_explicit(&b->missing, 1, memory_order_acq_rel) == 1) {
    atomic_store_explicit(&b->missing, b->parts, memory_order_relaxed);
    advance(&b->phase);
  } else {
    await(&b->phase, phase, &vain);
  }
}

typedef struct {
  void (*fn)(void *arg, int part);
  void *arg;
  uint64_t mode; /* the caller's */
  atomic_int pending; /* workers still in fn */
  atomic_uint done;
} run;

typedef struct worker {
  _Alignas(64) atomic_uint calls;
  int part;
  run *run;
  struct worker *next; /* in the idle list or in its run's */
} worker;

static mutex lock = MUTEX_FREE; /* for all of pool */
static struct {
  worker workers[FG_WORKERS];
  worker *idle; /* the last to have worked first */
  int idle_count, started;
  int active; /* parts of all runs */
  int cpus;
} pool;

static void *work(void *self) {
  worker *w = self;
  name_thread();
  unsigned idle = 0;
  for (unsigned calls = 0;; calls += 2) {
    await(&w->calls, calls, &idle);
    run *r = w->run;
    set_arithmetic_mode(r->mode);
    r->fn(r->arg, w->part);
    if (atomic_fetch_sub_explicit(&r->pending, 1, memory_order_acq_rel) == 1) advance(&r->done);
  }
  return NULL;
}

/* A child has the forking thread only. */
static void before_fork(void) { acquire(&lock); }
static void after_fork(void) { release(&lock); }
static void after_fork_child(void) {
  reset_parking();
  memset(&pool, 0, sizeof pool);
  release(&lock);
}

static int setup_error;
static void setup(void) { setup_error = prepare(before_fork, after_fork, after_fork_child); }

static int start_worker(void) {
  worker *w = &pool.workers[pool.started];
  int error = start_thread(work, w, FG_STACK);
  if (error) return error;

  w->next = pool.idle;
  pool.idle = w;
  pool.idle_count++;
  pool.started++;
  return 0;
}

static void count_active(int parts) {
  pool.active += parts;
  /* After the last run this stays as it was: its workers wait for the next. */
  if (pool.active) atomic_store_explicit(&crowded, pool.active > pool.cpus, memory_order_relaxed);
}

/* Takes n idle workers out of the pool, as a list. */
static int take(int n, worker **first, worker **last) {
  int error = 0;
  acquire(&lock);
  if (n > pool.idle_count + FG_WORKERS - pool.started) error = EAGAIN;
  while (!error && pool.idle_count < n) error = start_worker();
  if (!error) {
    *first = *last = pool.idle;
    for (int i = 1; i < n; i++) *last = (*last)->next;
    pool.idle = (*last)->next;
    (*last)->next = NULL;
    pool.idle_count -= n;
    pool.cpus = count_cpus();
    count_active(n + 1);
  }
  release(&lock);
  return error;
}

static void give_back(int n, worker *first, worker *last) {
  acquire(&lock);
  last->next = pool.idle;
  pool.idle = first;
  pool.idle_count += n;
  count_active(-n - 1);
  release(&lock);
}

int fg_pool_run(int parts, void (*fn)(void *arg, int part), void *arg) {
  if (parts < 1) return EINVAL;
  if (parts == 1) {
    fn(arg, 0);
    return 0;
  }
  static once_flag begun = ONCE;
  once(&begun, setup);
  worker *first, *last;
  int error = setup_error ? setup_error : take(parts - 1, &first, &last);
  if (error) return error;

  run r = {.fn = fn, .arg = arg, .mode = arithmetic_mode(), .pending = parts - 1, .done = 0};
  int part = 0;
  for (worker *w = first; w; w = w->next) {
    w->run = &r;
    w->part = ++part;
    advance(&w->calls);
  }
  fn(arg, 0);
  await(&r.done, 0, &vain);
  give_back(parts - 1, first, last);
  return 0;
}

int fg_pool_threads(void) {
  acquire(&lock);
  int n = pool.started;
  release(&lock);
  return n;
}
