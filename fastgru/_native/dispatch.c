/* The instruction sets of this build, best first, and whether this CPU and operating system run them. */
#include <string.h>

#include "fastgru/fastgru.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif

/* Every flag that setup.py gives to an object must be asked for here. __builtin_cpu_supports looks at
 * XCR0, too: a CPU with AVX-512 under a system that does not save its registers answers no. */
#define FG_PREDICATE static __attribute__((unused)) int /* a build may leave instruction sets out */
FG_PREDICATE always(void) { return 1; }
#if defined(__x86_64__)
FG_PREDICATE has_avx2(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
FG_PREDICATE has_avx512(void) {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
FG_PREDICATE has_avx512_vnni(void) { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
FG_PREDICATE has_avx512_bf16(void) { return has_avx512_vnni() && __builtin_cpu_supports("avx512bf16"); }
/* GCC 12 and clang 14 know no name for it: CPUID leaf 7, subleaf 1, EAX bit 4. */
FG_PREDICATE has_avx_vnni(void) {
  unsigned a = 0, b, c, d;
  return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
#elif defined(__aarch64__) && defined(__linux__)
FG_PREDICATE has_neon_dot(void) { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
#elif defined(__aarch64__) && defined(_WIN32)
FG_PREDICATE has_neon_dot(void) { return IsProcessorFeaturePresent(PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE) != 0; }
#elif defined(__aarch64__)
FG_PREDICATE has_neon_dot(void) { return 1; } /* every Apple silicon */
#endif

/* FG_BUILT_ISAS has a row for each instruction set, FG_BUILT_DOTS for each set of dot products, the best first:
 * instruction set, name, predicate. Both come from the tables in setup.py. */
#define FG_DECLARE(name, supported) extern const fg_kernels fg_##name##_f32, fg_##name##_f64;
#define FG_DECLARE_DOT(isa, name, supported) extern const fg_narrow fg_##isa##_##name;
FG_BUILT_ISAS(FG_DECLARE)
FG_BUILT_DOTS(FG_DECLARE_DOT)

#define FG_ROW(name, supported) {#name, &fg_##name##_f32, &fg_##name##_f64, 0, NULL},
#define FG_ASK(name, supported) supported,
#define FG_DOT_ROW(isa, name, supported) {#isa, &fg_##isa##_##name, supported},

typedef struct {
  const char *isa;
  const fg_narrow *table;
  int (*supported)(void);
} dot_row;

const fg_isa *fg_isas(int *count) {
  static fg_isa rows[] = {FG_BUILT_ISAS(FG_ROW)};
  static int (*const predicates[])(void) = {FG_BUILT_ISAS(FG_ASK)};
  static const dot_row dots[] = {FG_BUILT_DOTS(FG_DOT_ROW)};
  *count = sizeof rows / sizeof rows[0];
  for (int i = 0; i < *count; i++) {
    rows[i].supported = predicates[i]();
    rows[i].narrow = NULL;
    for (size_t j = 0; j < sizeof dots / sizeof dots[0]; j++)
      if (!rows[i].narrow && !strcmp(dots[j].isa, rows[i].name) && dots[j].supported()) rows[i].narrow = dots[j].table;
  }
  return rows;
}
