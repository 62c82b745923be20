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

/* Every flag that setup.py gives to an object must be asked for here. */
#define FG_PREDICATE static __attribute__((unused)) int /* a build may leave instruction sets out */
FG_PREDICATE always(void) { return 1; }
#if defined(__x86_64__)
/* By CPUID and XCR0, not by __builtin_cpu_supports: where the compiler's library lacks its table, as that of zig does,
 * it answers no to everything. A system that does not save the registers answers no, too. */
enum { EAX, EBX, ECX, EDX };
static __attribute__((unused)) int cpu_has(unsigned leaf, unsigned part, int at, int bit) {
  unsigned r[4] = {0};
  return __get_cpuid_count(leaf, part, &r[EAX], &r[EBX], &r[ECX], &r[EDX]) && (r[at] >> bit & 1);
}
static __attribute__((unused)) int os_saves(unsigned registers) {
  unsigned low, high;
  if (!cpu_has(1, 0, ECX, 27)) return 0; /* OSXSAVE */
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & registers) == registers;
}
FG_PREDICATE has_avx2(void) {
  return os_saves(0x06) && cpu_has(7, 0, EBX, 5) && cpu_has(1, 0, ECX, 12) && cpu_has(1, 0, ECX, 29);
}
FG_PREDICATE has_avx512(void) { /* F, BW, DQ, VL */
  return has_avx2() && os_saves(0xe6) && cpu_has(7, 0, EBX, 16) && cpu_has(7, 0, EBX, 30) && cpu_has(7, 0, EBX, 17) &&
         cpu_has(7, 0, EBX, 31);
}
FG_PREDICATE has_avx512_vnni(void) { return has_avx512() && cpu_has(7, 0, ECX, 11); }
FG_PREDICATE has_avx512_bf16(void) { return has_avx512_vnni() && cpu_has(7, 1, EAX, 5); }
FG_PREDICATE has_avx_vnni(void) { return has_avx2() && cpu_has(7, 1, EAX, 4); }
#elif defined(__aarch64__) && defined(__linux__)
FG_PREDICATE has_neon_dot(void) { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
#elif defined(__aarch64__) && defined(_WIN32)
FG_PREDICATE has_neon_dot(void) { return IsProcessorFeaturePresent(PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE) != 0; }
#elif defined(__aarch64__)
FG_PREDICATE has_neon_dot(void) { return 1; } /* every Apple silicon */
#endif

/* FG_BUILT_ISAS has a row for each instruction set, FG_BUILT_DOTS for each set of dot products, the best first:
 * instruction set, name, predicate; an instruction set names the one whose float64 kernels it has, too. Both come from
 * the tables in setup.py. */
#define FG_DECLARE(name, supported, f64) extern const fg_kernels fg_##name##_f32, fg_##f64##_f64;
#define FG_DECLARE_DOT(isa, name, supported) extern const fg_narrow fg_##isa##_##name;
FG_BUILT_ISAS(FG_DECLARE)
FG_BUILT_DOTS(FG_DECLARE_DOT)

#define FG_ROW(name, supported, f64) {#name, &fg_##name##_f32, &fg_##f64##_f64, 0, NULL},
#define FG_ASK(name, supported, f64) supported,
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
