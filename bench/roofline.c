/* What the machine allows: the peaks of one core, of multiply-adds of floats and of dot products of bytes
 * (include/fastgru/gemm/dot.h), and its read bandwidth by working set, as JSON. Compiled and run by bench/roofline.py with
 * -O3 -march=native -ffp-contract=fast.
 *
 * Bandwidth is that of weights in a product: each vector read goes into a multiply-add, from one stream of memory or from
 * four at once, with and without software prefetch; the fastest of all repetitions counts, as a limit should.
 *
 * With an argument: what two threads reach together, each on half of the memory, in repetitions that start together.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fastgru/gemm/dot.h"

#define UNROLL (FG_BYTES == 32 ? 8 : 16) /* vectors of one turn of the read loop, each with an accumulator of its own */
#define ACCUMULATORS 12 /* latency 4 times two units is 8; with two operands they fit into 16 registers */

static volatile float scale = 0.999f, shift = 1e-3f; /* unknown to the compiler */
static volatile float sink;                          /* what is stored here must be computed */

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void use(const vr *acc, int n) {
  vr sum = acc[0];
  for (int i = 1; i < n; i++) sum += acc[i];
  float total = 0;
  for (int i = 0; i < FG_LANES; i++) total += sum[i];
  sink = total;
}

enum { ROUNDS = 200000, REPEATS = 40 };

/* One repetition: the multiply-adds of ROUNDS. */
static void multiply_add(void) {
  vr acc[ACCUMULATORS];
  const vr a = (vr){0} + scale, b = (vr){0} + shift;
  for (int i = 0; i < ACCUMULATORS; i++) acc[i] = a + (float)i;
  for (long k = 0; k < ROUNDS; k++) {
#pragma GCC unroll 12
    for (int i = 0; i < ACCUMULATORS; i++) acc[i] = acc[i] * a + b;
  }
  use(acc, ACCUMULATORS);
}

/* One repetition: the dot products of ROUNDS, of other bytes in each, as in a product. */
static void dot_products(void) {
  static char x[64 * FG_FOUR];
  vi acc[ACCUMULATORS], w[ACCUMULATORS];
  for (int i = 0; i < 64 * FG_FOUR; i++) x[i] = (char)(i % FG_FOUR < 4 ? i : -(i & 1));
#pragma GCC unroll 12
  for (int i = 0; i < ACCUMULATORS; i++) acc[i] = (vi){0}, w[i] = (vi){0} + i * 0x01010101;
  __asm__ volatile("" ::"r"(x) : "memory");
  for (long k = 0; k < ROUNDS; k++) {
#pragma GCC unroll 12
    for (int i = 0; i < ACCUMULATORS; i++) acc[i] = dot_bytes(acc[i], x + (k & 63) * FG_FOUR, w[i]);
  }
  vi total = acc[0];
#pragma GCC unroll 12
  for (int i = 1; i < ACCUMULATORS; i++) total += acc[i];
  sink = (float)largest_lane(total);
}

/* One pass over n vectors, as `streams` streams side by side, prefetching `ahead` vectors of each stream. */
static inline __attribute__((always_inline)) void pass(const vr *p, long n, int streams, long ahead, vr x, vr *acc) {
  const int each = UNROLL / streams;
  const long quarter = n / streams;
  for (long k = 0; k < quarter; k += each) {
#pragma GCC unroll 16
    for (int i = 0; i < UNROLL; i++) {
      const vr *at = p + (i / each) * quarter + k + i % each;
      if (ahead) __builtin_prefetch(at + ahead, 0, 3);
      acc[i] += x * *at;
    }
  }
}

/* One repetition: `passes` over the memory, in one of four ways. */
static void read_all(const vr *p, long bytes, long passes, int way) {
  const long n = bytes / FG_BYTES;
  vr acc[UNROLL] = {{0}};
  const vr x = (vr){0} + scale;
  for (long k = 0; k < passes; k++) switch (way) {
      case 0: pass(p, n, 1, 0, x, acc); break;
      case 1: pass(p, n, 4, 0, x, acc); break;
      case 2: pass(p, n, 1, 2048 / FG_BYTES, x, acc); break;
      default: pass(p, n, 4, 512 / FG_BYTES, x, acc);
    }
  use(acc, UNROLL);
}

/* What each of `threads` threads does: `compute`, or reading where there is memory. */
typedef struct {
  void (*compute)(void);
  const vr *p;
  long bytes, passes;
  int threads;
  pthread_barrier_t *meet;
  double start[REPEATS], end[REPEATS];
} job;

static void *work(void *arg) {
  job *j = arg;
  for (int r = 0; r < REPEATS; r++) {
    if (j->threads > 1) pthread_barrier_wait(j->meet);
    j->start[r] = seconds();
    if (j->p) read_all(j->p, j->bytes, j->passes, r % 4);
    else j->compute();
    j->end[r] = seconds();
  }
  return NULL;
}

/* The shortest repetition, from the first start to the last end. */
static double shortest(int threads, void (*compute)(void), const vr *p, long bytes, long passes) {
  static job jobs[2];
  pthread_barrier_t meet;
  pthread_t other;
  pthread_barrier_init(&meet, NULL, (unsigned)threads);
  for (int i = 0; i < threads; i++)
    jobs[i] = (job){.compute = compute, .p = p ? p + i * (bytes / threads / FG_BYTES) : NULL, .bytes = bytes / threads,
                    .passes = passes, .threads = threads, .meet = &meet};
  if (threads > 1 && pthread_create(&other, NULL, work, &jobs[1])) exit(1);
  work(&jobs[0]);
  if (threads > 1) pthread_join(other, NULL);
  pthread_barrier_destroy(&meet);
  double best = 1e30;
  for (int r = 0; r < REPEATS; r++) {
    double start = jobs[0].start[r], end = jobs[0].end[r];
    if (threads > 1 && jobs[1].start[r] < start) start = jobs[1].start[r];
    if (threads > 1 && jobs[1].end[r] > end) end = jobs[1].end[r];
    if (end - start < best) best = end - start;
  }
  return best;
}

int main(int argc, char **argv) {
  (void)argv;
  const int threads = argc > 1 ? 2 : 1;
  const long kib[] = {16, 64, 256, 1024, 4096, 16384, 65536};
  const int sizes = sizeof kib / sizeof *kib;
  const long most = (kib[sizes - 1] << 10) + 4096; /* prefetch runs past the end */
  vr *p = aligned_alloc(4096, (size_t)most);
  if (!p) return 1;
  memset(p, 1, (size_t)most);
  const double each = 2.0 * FG_LANES * ACCUMULATORS * ROUNDS * threads;
  const double flops = each / shortest(threads, multiply_add, NULL, 0, 0);
  const double dots = 4 * each / shortest(threads, dot_products, NULL, 0, 0);
  printf("{\"vector_bytes\": %d, \"flops\": %.4g, \"dots\": %.4g, \"bandwidth\": [", FG_BYTES, flops, dots);
  for (int i = 0; i < sizes; i++) {
    const long bytes = kib[i] << 10, passes = (1 << 24) / bytes + 1;
    const double time = shortest(threads, NULL, p, bytes, passes);
    printf("%s[%ld, %.4g]", i ? ", " : "", bytes, (double)passes * (double)bytes / time);
  }
  printf("]}\n");
  free(p);
  return 0;
}
