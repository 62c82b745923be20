/* What the machine allows: the FMA peak of one core and its read bandwidth by working set, as JSON. Compiled and run by
 * bench/roofline.py with -O3 -march=native -ffp-contract=fast.
 *
 * Bandwidth is that of weights in a product: each vector read goes into a multiply-add, from one stream of memory or from
 * four at once, with and without software prefetch; the fastest of all repetitions counts, as a limit should.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
#define BYTES 64
#define UNROLL 16 /* vectors of one turn of the read loop, each with an accumulator of its own */
#elif defined(__AVX__)
#define BYTES 32
#define UNROLL 8
#else
#define BYTES 16
#define UNROLL 16
#endif
#define LANES (BYTES / 4)
#define ACCUMULATORS 12 /* latency 4 times two units is 8; with two operands they fit into 16 registers */

typedef float vec __attribute__((vector_size(BYTES), may_alias));

static volatile float scale = 0.999f, shift = 1e-3f; /* unknown to the compiler */
static volatile float sink;                          /* what is stored here must be computed */

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void use(const vec *acc, int n) {
  vec sum = acc[0];
  for (int i = 1; i < n; i++) sum += acc[i];
  float total = 0;
  for (int i = 0; i < LANES; i++) total += sum[i];
  sink = total;
}

static double flops(void) {
  const long rounds = 200000;
  double best = 0;
  for (int r = 0; r < 30; r++) {
    vec acc[ACCUMULATORS];
    const vec a = (vec){0} + scale, b = (vec){0} + shift;
    for (int i = 0; i < ACCUMULATORS; i++) acc[i] = a + (float)i;
    const double start = seconds();
    for (long k = 0; k < rounds; k++) {
#pragma GCC unroll 12
      for (int i = 0; i < ACCUMULATORS; i++) acc[i] = acc[i] * a + b;
    }
    const double rate = 2.0 * LANES * ACCUMULATORS * (double)rounds / (seconds() - start);
    use(acc, ACCUMULATORS);
    if (rate > best) best = rate;
  }
  return best;
}

/* One pass over n vectors, as `streams` streams side by side, prefetching `ahead` vectors of each stream. */
static inline __attribute__((always_inline)) void pass(const vec *p, long n, int streams, long ahead, vec x, vec *acc) {
  const int each = UNROLL / streams;
  const long quarter = n / streams;
  for (long k = 0; k < quarter; k += each) {
#pragma GCC unroll 16
    for (int i = 0; i < UNROLL; i++) {
      const vec *at = p + (i / each) * quarter + k + i % each;
      if (ahead) __builtin_prefetch(at + ahead, 0, 3);
      acc[i] += x * *at;
    }
  }
}

static double bandwidth(const vec *p, long bytes) {
  const long n = bytes / BYTES, passes = (1 << 24) / bytes + 1;
  double best = 0;
  for (int r = 0; r < 40; r++) {
    vec acc[UNROLL] = {{0}};
    const vec x = (vec){0} + scale;
    const double start = seconds();
    for (long k = 0; k < passes; k++) switch (r % 4) {
        case 0: pass(p, n, 1, 0, x, acc); break;
        case 1: pass(p, n, 4, 0, x, acc); break;
        case 2: pass(p, n, 1, 2048 / BYTES, x, acc); break;
        default: pass(p, n, 4, 512 / BYTES, x, acc);
      }
    const double rate = (double)passes * (double)bytes / (seconds() - start);
    use(acc, UNROLL);
    if (rate > best) best = rate;
  }
  return best;
}

int main(void) {
  const long kib[] = {16, 64, 256, 1024, 4096, 16384, 65536};
  const int sizes = sizeof kib / sizeof *kib;
  const long most = (kib[sizes - 1] << 10) + 4096; /* prefetch runs past the end */
  vec *p = aligned_alloc(4096, (size_t)most);
  if (!p) return 1;
  memset(p, 1, (size_t)most);
  printf("{\"vector_bytes\": %d, \"flops\": %.4g, \"bandwidth\": [", BYTES, flops());
  for (int i = 0; i < sizes; i++)
    printf("%s[%ld, %.4g]", i ? ", " : "", kib[i] << 10, bandwidth(p, kib[i] << 10));
  printf("]}\n");
  free(p);
  return 0;
}
