/* The reduced-precision products of one compiler target, hashed: tests/aarch64.sh compares the hashes of all targets.
 * Compiled together with fastgru/_native/narrow.c, whose table is FG_TABLE. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastgru/fastgru.h"
#include "fastgru/math/vec.h"

extern const fg_narrow FG_TABLE;

static uint32_t state = 1;
static int32_t noise(int32_t n) { /* -n .. n, the same everywhere */
  state = state * 1664525u + 1013904223u;
  return (int32_t)(state >> 8) % (2 * n + 1) - n;
}

static void *aligned(size_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }

int main(void) {
  enum { H = 37, K = 45, B = 7, G = 3, L = FG_LANES, PANELS = (H + L - 1) / L, N = PANELS * G * L };
  static int8_t codes[G][H][K];
  static float a[B][K];
  for (int b = 0; b < B; b++)
    for (int k = 0; k < K; k++) a[b][k] = b < 2 ? (b ? -1.0f : 1.0f) : (float)noise(1 << 20) * 1e-6f; /* extremes, too */
  static const char *const names[] = {"bfloat16", "int8", "int8_affine", "int8_affine_given", "int8_paired"};
  static uint8_t paired[PANELS];
  memset(paired, 1, sizeof paired);
  for (int kind = 0; kind < 5; kind++) {
    const int format = kind ? FG_INT8 : FG_BFLOAT16;
    uint64_t hash = 14695981039346656037u;
    char *data = aligned(1 << 20);
    float *scale = aligned(N * 4 + 64), *c = aligned(B * N * 4 + 64);
    int32_t *offset = aligned(N * 4 + 64), *sums = aligned(N * 4 + 64), *zero = aligned(N * 4 + 64);
    void *scratch = aligned(1 << 20);
    const int group = format == FG_INT8 ? 4 : 2;
    memset(data, 0, 1 << 20), memset(offset, 0, N * 4), memset(scale, 0, N * 4), state = 7;
    memset(sums, 0, N * 4), memset(zero, 0, N * 4);
    for (int g = 0; g < G; g++)
      for (int h = 0; h < H; h++)
        for (int k = 0; k < K; k++) {
          const long at = ((((long)h / L * ((K + group - 1) / group) + k / group) * G + g) * L + h % L) * group + k % group;
          const int n = h / L * G * L + g * L + h % L;
          const int largest = kind == 4 ? 60 : 127; /* of which four and one more each are 244 */
          codes[g][h][k] = (int8_t)(h < 2 ? (h ? -largest : largest) : noise(largest));
          scale[n] = (float)(h + 1) * 0x1p-10f, offset[n] -= 128 * codes[g][h][k];
          sums[n] += codes[g][h][k], zero[n] = h * 5 - 90;
          if (format == FG_INT8) data[at] = codes[g][h][k];
          const float value = (float)codes[g][h][k];
          uint32_t bits;
          memcpy(&bits, &value, 4);
          const uint16_t half = (uint16_t)(bits >> 16); /* exact: seven bits */
          if (format == FG_BFLOAT16) memcpy(data + 2 * at, &half, 2);
        }
    const fg_matrix w = {.data = data, .panels = PANELS, .gates = G, .inner = K, .format = format, .scale = scale, .offset = offset,
                         .sums = kind == 2 || kind == 3 ? sums : NULL, .zero = kind == 2 || kind == 3 ? zero : NULL,
                         .input_scale = kind == 3 ? 0x1.23456p-8f : 0, .input_zero = 100,
                         .paired = kind == 4 ? paired : NULL};
    const fg_act linear = {kind == 3 ? FG_FAKE_QUANTIZE : FG_LINEAR, 0.0625, -50};
    const fg_rows in = {a, 0, K}, out = {c, 0, N};
    const fg_span rows = {B, 0, B, NULL, 0};
    FG_TABLE.product(&w, NULL, &linear, &in, &out, N, &rows, scratch);
    for (int b = 0; b < B; b++)
      for (int g = 0; g < G; g++)
        for (int h = 0; h < H; h++) {
          uint32_t word;
          memcpy(&word, &c[b * N + h / L * G * L + g * L + h % L], 4);
          hash = (hash ^ word) * 1099511628211u;
        }
    printf("%s %016llx\n", names[kind], (unsigned long long)hash);
  }
  return 0;
}
