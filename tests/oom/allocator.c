/* The allocator of a child of tests/engine/test_oom.py, preloaded: it counts and fails the allocations that one thread makes
 * in given extension modules, and counts the blocks that are alive. Needs glibc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unwind.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

#define RANGES 256

typedef struct {
  uintptr_t begin, end;
  int ours;
} range;

static range ranges[RANGES]; /* extension modules, and the interpreter's loop */
static int n_ranges;
static const char *wanted;
static volatile int armed;
static int looking, persistent;
static long count, chosen, live;
static pthread_t thread;
static char owner[512]; /* the module whose call failed last */

static void add_range(uintptr_t begin, size_t size, int ours) {
  if (n_ranges < RANGES) ranges[n_ranges++] = (range){begin, begin + size, ours};
}

static int is_wanted(const char *path) {
  char list[512];
  strncpy(list, wanted, sizeof list - 1);
  list[sizeof list - 1] = 0;
  for (char *rest = list, *name; (name = strsep(&rest, ","));)
    if (strstr(path, name)) return 1;
  return 0;
}

static int add_module(struct dl_phdr_info *module, size_t size, void *unused) {
  (void)size, (void)unused;
  if (!strstr(module->dlpi_name, ".cpython-") && !strstr(module->dlpi_name, ".abi3.")) return 0;
  for (int i = 0; i < module->dlpi_phnum; i++)
    if (module->dlpi_phdr[i].p_type == PT_LOAD)
      add_range(module->dlpi_addr + module->dlpi_phdr[i].p_vaddr, module->dlpi_phdr[i].p_memsz,
                is_wanted(module->dlpi_name));
  return 0;
}

/* From now on the thread's allocation `n` in `modules` (parts of their paths), counted from 1, fails; none for 0. With
 * `all` every later one fails, too. An allocation is a module's if no other module and no Python code is between. */
void oom_arm(long n, int all, const char *modules) {
  Dl_info info;
  const ElfW(Sym) *symbol = NULL;
  void *loop = dlsym(RTLD_DEFAULT, "_PyEval_EvalFrameDefault");
  n_ranges = 0, wanted = modules, owner[0] = 0;
  if (loop && dladdr1(loop, &info, (void **)&symbol, RTLD_DL_SYMENT) && symbol)
    add_range((uintptr_t)loop, symbol->st_size, 0);
  dl_iterate_phdr(add_module, NULL);
  count = 0, chosen = n, persistent = all, thread = pthread_self();
  armed = 1;
}

/* The modules' allocations since `oom_arm`. */
long oom_disarm(void) {
  armed = 0;
  return count;
}

const char *oom_owner(void) { return owner; }
long oom_live(void) { return __atomic_load_n(&live, __ATOMIC_RELAXED); }

/* Stops at the innermost frame that a range has. */
static _Unwind_Reason_Code look(struct _Unwind_Context *frame, void *found) {
  const uintptr_t at = _Unwind_GetIP(frame);
  for (int i = 0; i < n_ranges; i++)
    if (at >= ranges[i].begin && at < ranges[i].end) {
      *(uintptr_t *)found = ranges[i].ours ? at : 0;
      return _URC_END_OF_STACK;
    }
  return _URC_NO_REASON;
}

static int fails(void) {
  if (!armed || looking || !pthread_equal(thread, pthread_self())) return 0;
  uintptr_t found = 0;
  looking = 1; /* the unwinder may allocate */
  _Unwind_Backtrace(look, &found);
  looking = 0;
  if (!found || ++count < chosen || !chosen || (count > chosen && !persistent)) return 0;
  Dl_info module;
  if (dladdr((void *)found, &module) && module.dli_fname) strncpy(owner, module.dli_fname, sizeof owner - 1);
  errno = ENOMEM;
  return 1;
}

static void *counted(void *block) {
  if (block) __atomic_add_fetch(&live, 1, __ATOMIC_RELAXED);
  return block;
}

void *malloc(size_t size) { return fails() ? NULL : counted(__libc_malloc(size)); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : counted(__libc_calloc(n, size)); }
void *memalign(size_t alignment, size_t size) { return fails() ? NULL : counted(__libc_memalign(alignment, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
  void *made = memalign(alignment, size);
  if (!made) return ENOMEM;
  *block = made;
  return 0;
}

void *realloc(void *block, size_t size) {
  if (fails()) return NULL;
  void *made = __libc_realloc(block, size);
  if (!block) counted(made);
  return made;
}

void free(void *block) {
  if (block) __atomic_sub_fetch(&live, 1, __ATOMIC_RELAXED);
  __libc_free(block);
}
