/* Checks fastgru/_native/pool.c; tests/kernels/pool.sh builds and runs it. Usage: pool [rounds] */
#include "fastgru/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
#define FORKS 0 /* ThreadSanitizer allows no threads in a child */
#else
#define FORKS 1
#endif
#ifndef LIMITS
#define LIMITS 1 /* AddressSanitizer and qemu do not live with RLIMIT_AS */
#endif

#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      abort(); \
    } \
  } while (0)

enum { MOST = 8 };
static int rounds = 2000;

static double seconds(clockid_t clock) {
  struct timespec t;
  CHECK(clock_gettime(clock, &t) == 0);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now(void) { return seconds(CLOCK_MONOTONIC); }

static void nothing(void *arg, int part) { (void)arg, (void)part; }

/* Plain memory in both directions: sanitizers see whether the pool orders it. */
struct sums {
  long in, out[MOST];
  pthread_t thread[MOST];
};

static void add(void *arg, int part) {
  struct sums *s = arg;
  s->out[part] += s->in * (part + 1);
  s->thread[part] = pthread_self();
}

static void check_runs(void) {
  for (int parts = 1; parts <= MOST; parts++) {
    struct sums s = {0};
    for (long i = 1; i <= rounds; i++) {
      s.in = i;
      CHECK(fg_pool_run(parts, add, &s) == 0);
      CHECK(pthread_equal(s.thread[0], pthread_self()));
      for (int p = 0; p < parts; p++) {
        CHECK(s.out[p] == i * (i + 1) / 2 * (p + 1));
        for (int q = 0; q < p; q++) CHECK(!pthread_equal(s.thread[p], s.thread[q]));
      }
    }
  }
}

struct phases {
  fg_barrier barrier;
  int parts, count;
  int cells[2][MOST];
};

static void in_phases(void *arg, int part) {
  struct phases *s = arg;
  for (int phase = 0; phase < s->count; phase++) {
    for (int p = 0; phase && p < s->parts; p++) CHECK(s->cells[~phase & 1][p] == (phase - 1) * (p + 1));
    s->cells[phase & 1][part] = phase * (part + 1);
    fg_barrier_wait(&s->barrier);
  }
}

static void check_barrier(int most, int count) {
  for (int parts = 1; parts <= most; parts++) {
    struct phases s = {.parts = parts, .count = count};
    fg_barrier_init(&s.barrier, parts);
    for (int again = 0; again < 2; again++) CHECK(fg_pool_run(parts, in_phases, &s) == 0);
  }
}

/* One part late at each phase, long enough that the others sleep. */
static void late(void *arg, int part) {
  struct phases *s = arg;
  for (int phase = 0; phase < s->count; phase++) {
    if (part == phase % s->parts) usleep(200);
    s->cells[0][part] = phase;
    fg_barrier_wait(&s->barrier);
    for (int p = 0; p < s->parts; p++) CHECK(s->cells[0][p] == phase);
    fg_barrier_wait(&s->barrier);
  }
}

static void check_late(void) {
  struct phases s = {.parts = 4, .count = rounds / 10};
  fg_barrier_init(&s.barrier, s.parts);
  CHECK(fg_pool_run(s.parts, late, &s) == 0);
}

static void *caller(void *arg) {
  (void)arg;
  check_runs();
  for (int i = 0; i < 20; i++) check_barrier(4, rounds / 50);
  return NULL;
}

static void check_callers(void) {
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, caller, NULL) == 0);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  CHECK(fg_pool_threads() <= 2 * (MOST - 1));
}

static void run_inside(void *arg, int part) {
  struct sums *s = (struct sums *)arg + part;
  s->in = 1;
  CHECK(fg_pool_run(3, add, s) == 0);
}

static void check_nested(void) {
  struct sums s[3] = {0};
  CHECK(fg_pool_run(3, run_inside, s) == 0);
  for (int p = 0; p < 3; p++)
    for (int q = 0; q < 3; q++) CHECK(s[p].out[q] == q + 1);
}

static void blocks(void *arg, int part) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  ((int *)arg)[part] = sigismember(&mask, SIGINT) && sigismember(&mask, SIGPROF) && !sigismember(&mask, SIGSEGV);
}

static void check_signals(void) {
  int blocked[3] = {0};
  CHECK(fg_pool_run(3, blocks, blocked) == 0);
  CHECK(!blocked[0] && blocked[1] && blocked[2]);
}

/* Subnormal numbers as zero, or not, in the calling thread; whether this file knows how. */
static int flush_to_zero(int on) {
#if defined(__x86_64__)
  __builtin_ia32_ldmxcsr((__builtin_ia32_stmxcsr() & ~0x8040u) | (on ? 0x8040u : 0));
#elif defined(__aarch64__)
  unsigned long mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  mode = (mode & ~(1ul << 24)) | (unsigned long)on << 24;
  __asm__ volatile("msr fpcr, %0" ::"r"(mode));
#else
  (void)on;
  return 0;
#endif
  return 1;
}

static void below_normal(void *arg, int part) {
  volatile float smallest = 0x1p-126f;
  ((float *)arg)[part] = smallest * 0.5f;
}

static void check_arithmetic_mode(void) {
  for (int i = 0; i < 4; i++) { /* the workers of the first run work in the others, too */
    float found[4];
    flush_to_zero(i % 2);
    CHECK(fg_pool_run(4, below_normal, found) == 0);
    const int known = flush_to_zero(0); /* before comparing, which takes them for zero, too */
    for (int p = 0; p < 4; p++) CHECK((found[p] == 0) == (known && i % 2));
  }
}

static void check_idle(void) {
  struct sums s = {0};
  CHECK(fg_pool_run(4, add, &s) == 0);
  usleep(20000);
  double before[4], used = 0;
  for (int again = 0; again < 2; again++) {
    for (int p = 1; p < 4; p++) {
      clockid_t clock;
      CHECK(pthread_getcpuclockid(s.thread[p], &clock) == 0);
      if (again) used += seconds(clock) - before[p];
      before[p] = seconds(clock);
    }
    if (!again) usleep(300000);
  }
  CHECK(used < 0.1); /* of 0.9 where all three poll */
}

static void check_refused(void) {
  int before = fg_pool_threads();
  CHECK(fg_pool_run(0, nothing, NULL) == EINVAL);
  CHECK(fg_pool_run(1000, NULL, NULL) == EAGAIN);
  CHECK(fg_pool_threads() == before);
  check_barrier(4, 10);
}

/* In a child: what follows must end in time, whatever the parent's threads were doing. */
static void in_child(void (*check)(void)) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(60);
    check();
    exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void from_empty(void) {
  CHECK(fg_pool_threads() == 0);
  check_barrier(4, 20);
  CHECK(fg_pool_threads() == 3);
}

static void grandchild(void) {
  from_empty();
  in_child(from_empty);
  check_barrier(4, 20);
}

static void out_of_memory(void) {
  struct rlimit none = {0, 0}, old;
  CHECK(getrlimit(RLIMIT_AS, &old) == 0);
  none.rlim_max = old.rlim_max;
  CHECK(setrlimit(RLIMIT_AS, &none) == 0);
  CHECK(fg_pool_run(200, NULL, NULL) == EAGAIN); /* glibc may have stacks left for some */
  CHECK(setrlimit(RLIMIT_AS, &old) == 0);
  check_barrier(MOST, 20);
}

static atomic_int stop;
static void *keep_running(void *arg) {
  (void)arg;
  while (!atomic_load(&stop)) check_barrier(4, 20);
  return NULL;
}

static void check_fork(void) {
  in_child(from_empty);
  in_child(grandchild);
  if (LIMITS) in_child(out_of_memory);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, keep_running, NULL) == 0);
  for (int i = 0; i < 50; i++) {
    usleep(i * 7);
    in_child(from_empty);
  }
  atomic_store(&stop, 1);
  pthread_join(thread, NULL);
  check_barrier(4, 20);
}

static void wait_only(void *arg, int part) {
  struct phases *s = arg;
  (void)part;
  for (int i = 0; i < s->count; i++) fg_barrier_wait(&s->barrier);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median_run(int parts, int count, int pause_us) {
  double took[1000];
  for (int i = 0; i < count; i++) {
    if (pause_us) usleep(pause_us);
    double start = now();
    CHECK(fg_pool_run(parts, nothing, NULL) == 0);
    took[i] = 1e6 * (now() - start);
  }
  qsort(took, count, sizeof *took, by_value);
  return took[count / 2];
}

static void report(void) {
  printf("us");
  for (int parts = 2; parts <= 4; parts += 2) {
    struct phases s = {.count = 10 * rounds};
    fg_barrier_init(&s.barrier, parts);
    double warm = median_run(parts, 1000, 0), asleep = median_run(parts, 100, 1000), start = now();
    CHECK(fg_pool_run(parts, wait_only, &s) == 0);
    double barrier = 1e6 * (now() - start) / s.count;
    printf("  %d parts: run %.2f, after a pause %.1f, barrier %.2f;", parts, warm, asleep, barrier);
  }
  printf("\n");
}

int main(int argc, char **argv) {
  if (argc > 1) rounds = atoi(argv[1]);
  struct sums s = {.in = 7};
  CHECK(fg_pool_threads() == 0);
  CHECK(fg_pool_run(1, add, &s) == 0 && s.out[0] == 7);
  CHECK(fg_pool_threads() == 0);
  if (FORKS) in_child(from_empty);

  check_runs();
  CHECK(fg_pool_threads() == MOST - 1);
  check_barrier(MOST, rounds);
  check_late();
  check_signals();
  check_arithmetic_mode();
  check_idle();
  check_nested();
  check_callers();
  check_refused();
  if (FORKS) check_fork();
  report();
  return 0;
}
