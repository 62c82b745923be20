/* The kernels without Python: one recurrent step and one input product, fastest of nine, with the bandwidth or the
 * rate reached. The figures beside the constants of include/fastgru/gemm/tile.h are this program's. From the repository:
 *
 *   gcc -std=gnu11 -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -Iinclude -DFG_ISA=avx512 \
 *     -DFG_TABLE=fg_table -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512 \
 *     fastgru/_native/kernels.c bench/kernels.c -o kernels && taskset -c 1 ./kernels
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "fastgru/fastgru.h"

extern const fg_kernels fg_table;

static double microseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static float *noise(long n) {
  float *p = aligned_alloc(64, (size_t)(n * 4 + 63) / 64 * 64);
  for (long i = 0; i < n; i++) p[i] = (float)(rand() % 1000 - 500) * 1e-4f;
  return p;
}

typedef struct {
  fg_phase phase;
  fg_step step;
  fg_matrix w;
  fg_rows a, c;
  fg_span span;
} job;

static void run_step(job *j) { /* each step starts from the last one's state, as in a sequence */
  fg_table.steps(&j->phase, &j->step);
}

static void run_product(job *j) {
  const fg_act linear = {FG_LINEAR, 0, 0};
  fg_table.product(&j->w, NULL, &linear, &j->a, &j->c, j->w.panels * j->w.gates * fg_table.lanes, &j->span);
}

static double fastest(void (*run)(job *), job *j, double macs) {
  double best = 1e30;
  const int repeats = macs > 1e8 ? 3 : (int)(3e8 / macs) + 1;
  for (int r = 0; r < 9; r++) {
    const double start = microseconds();
    for (int i = 0; i < repeats; i++) run(j);
    const double each = (microseconds() - start) / repeats;
    if (each < best) best = each;
  }
  return best;
}

int main(void) {
  for (long G = 3; G <= 4; G++)
    for (long H = 64; H <= 512; H *= 2) {
      const long weights = G * H * H;
      for (long rows = 1; rows <= 64; rows = rows == 1 ? 32 : rows * 2) {
        job j = {.phase = {.kind = G == 3 ? FG_GRU_AFTER : FG_LSTM, .tier = FG_USUAL}};
        j.w = j.phase.u = (fg_matrix){noise(weights), H / fg_table.lanes, G, H};
        j.step = (fg_step){.rows = {rows, 0, rows, NULL, 0}, .a_stride = H, .stride = H, .count = 1, .x = noise(G * H * rows)};
        j.step.a = j.step.h = noise(H * rows), j.step.h_new = noise(H * rows), j.step.c = noise(H * rows);
        j.a = (fg_rows){noise(H * rows), 0, H}, j.c = (fg_rows){noise(G * H * rows), 0, G * H};
        j.span = (fg_span){rows, 0, rows, NULL, 0};
        const double macs = (double)(weights * rows);
        const double step = fastest(run_step, &j, macs), input = fastest(run_product, &j, macs);
        printf("gates %ld  I=H %3ld  rows %2ld   step %8.2f us %6.1f GB/s %6.1f GFLOP/s   product %8.2f us %6.1f GFLOP/s\n",
               G, H, rows, step, 4.0 * (double)weights / step / 1e3, 2 * macs / step / 1e3, input, 2 * macs / input / 1e3);
      }
    }
  return 0;
}
