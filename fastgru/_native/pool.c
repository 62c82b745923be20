/* A pool of worker threads. They start when a run first needs them, and stay; a run owns its workers until it ends. */
#include "fastgru/pool.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FG_WORKERS 256
#define FG_STACK (1 << 20) /* kernels use less than 64 KiB */
#define FG_SPIN_NS 30000   /* what it saves: waking a sleeper on another CPU took about 30 us on a virtual Xeon */

#if defined(__linux__) && !defined(FG_POOL_PORTABLE)
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* Sleeps while *word is `value`; may return early. */
static void park(atomic_uint *word, unsigned value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

/* Only the address of `word` counts here: its memory may be gone. */
static void unpark(atomic_uint *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0); }

static void reset_parking(void) {}

/* The CPUs that the calling thread may use. */
static int count_cpus(void) {
  unsigned long mask[8192 / (CHAR_BIT * sizeof(long))]; /* the most that Linux can be built for */
  long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
  int count = 0;
  for (long i = 0; i < bytes / (long)sizeof *mask; i++) count += __builtin_popcountl(mask[i]);
  return count;
}

static void name_thread(void) { prctl(PR_SET_NAME, "fastgru"); }
#else
static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
} lots[64];

#define LOT(word) (&lots[(uintptr_t)(word) / 64 % (sizeof lots / sizeof *lots)])

static void park(atomic_uint *word, unsigned value) {
  pthread_mutex_lock(&LOT(word)->lock);
  while (atomic_load_explicit(word, memory_order_relaxed) == value)
    pthread_cond_wait(&LOT(word)->changed, &LOT(word)->lock);
  pthread_mutex_unlock(&LOT(word)->lock);
}

static void unpark(atomic_uint *word) {
  pthread_mutex_lock(&LOT(word)->lock);
  pthread_cond_broadcast(&LOT(word)->changed);
  pthread_mutex_unlock(&LOT(word)->lock);
}

static void reset_parking(void) {
  for (size_t i = 0; i < sizeof lots / sizeof *lots; i++) {
    pthread_mutex_init(&lots[i].lock, NULL);
    pthread_cond_init(&lots[i].changed, NULL);
  }
}

static int count_cpus(void) { return (int)sysconf(_SC_NPROCESSORS_ONLN); }

static void name_thread(void) {
#ifdef __APPLE__
  pthread_setname_np("fastgru");
#endif
}
#endif

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
static unsigned long arithmetic_mode(void) {
#if defined(__x86_64__) || defined(__i386__)
  return __builtin_ia32_stmxcsr() & ~0x3Fu; /* without the flags of what has happened */
#elif defined(__aarch64__)
  unsigned long mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
#else
  return 0;
#endif
}

static void set_arithmetic_mode(unsigned long mode) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_ldmxcsr((unsigned)mode);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" ::"r"(mode));
#else
  (void)mode;
#endif
}

int64_t fg_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
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
static _Thread_local unsigned vain __attribute__((tls_model("initial-exec")));

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
  unsigned long mode; /* the caller's */
  atomic_int pending; /* workers still in fn */
  atomic_uint done;
} run;

typedef struct worker {
  _Alignas(64) atomic_uint calls;
  int part;
  run *run;
  struct worker *next; /* in the idle list or in its run's */
} worker;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for all of pool */
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
static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }
static void after_fork_child(void) {
  reset_parking();
  memset(&pool, 0, sizeof pool);
  pthread_mutex_unlock(&lock);
}

static int setup_error;
static void setup(void) {
  reset_parking();
  setup_error = pthread_atfork(before_fork, after_fork, after_fork_child);
}

static int start_worker(void) {
  worker *w = &pool.workers[pool.started];
  pthread_attr_t attr;
  int error = pthread_attr_init(&attr);
  if (error) return error;
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, FG_STACK);

  /* Signals are for Python's threads, but a fault must reach its handler (faulthandler) where it occurs. */
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
  sigset_t blocked, old;
  sigfillset(&blocked);
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
  pthread_sigmask(SIG_SETMASK, &blocked, &old);
  pthread_t thread;
  error = pthread_create(&thread, &attr, work, w);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  pthread_attr_destroy(&attr);
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
  pthread_mutex_lock(&lock);
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
  pthread_mutex_unlock(&lock);
  return error;
}

static void give_back(int n, worker *first, worker *last) {
  pthread_mutex_lock(&lock);
  last->next = pool.idle;
  pool.idle = first;
  pool.idle_count += n;
  count_active(-n - 1);
  pthread_mutex_unlock(&lock);
}

int fg_pool_run(int parts, void (*fn)(void *arg, int part), void *arg) {
  if (parts < 1) return EINVAL;
  if (parts == 1) {
    fn(arg, 0);
    return 0;
  }
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, setup);
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
  pthread_mutex_lock(&lock);
  int n = pool.started;
  pthread_mutex_unlock(&lock);
  return n;
}

void fg_yield(void) { sched_yield(); }

void fg_sleep(int64_t ns) {
  const struct timespec t = {ns / 1000000000, ns % 1000000000};
  nanosleep(&t, NULL);
}
