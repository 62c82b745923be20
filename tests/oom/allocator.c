/* The allocator of a child of tests/test_oom.py, preloaded: it counts what the thread that armed it allocates, fails
 * chosen allocations, and counts the blocks that are alive. Needs glibc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

#define FRAMES 400
#define RANGES 256

static struct { uintptr_t begin, end; } spared[RANGES]; /* code whose allocations never fail */
static int ranges;
static const char *names;
static volatile int armed;
static int looking, persistent;
static long count, chosen, failures, live;
static pthread_t thread;
static char owner[512]; /* whose call the last failure was: a path, or nothing */

static int add_ranges(struct dl_phdr_info *object, size_t size, void *unused) {
  (void)size, (void)unused;
  char list[512];
  strncpy(list, names, sizeof list - 1);
  list[sizeof list - 1] = 0;
  for (char *rest = list, *name; (name = strsep(&rest, ","));)
    for (int i = 0; strstr(object->dlpi_name, name) && i < object->dlpi_phnum && ranges < RANGES; i++)
      if (object->dlpi_phdr[i].p_type == PT_LOAD) {
        spared[ranges].begin = object->dlpi_addr + object->dlpi_phdr[i].p_vaddr;
        spared[ranges].end = spared[ranges].begin + object->dlpi_phdr[i].p_memsz;
        ranges++;
      }
  return 0;
}

/* From now on this thread's allocation `n`, counted from 1, fails; with `all` every later one, too. None does for 0.
 * Those made, however indirectly, by objects that have one of `objects` in their path are counted but spared. */
void oom_arm(long n, int all, const char *objects) {
  void *warm[4];
  backtrace(warm, 4); /* its first call loads a library */
  ranges = 0, names = objects;
  dl_iterate_phdr(add_ranges, NULL);
  count = failures = 0, chosen = n, persistent = all, thread = pthread_self();
  armed = 1;
}

/* The allocations since `oom_arm`. */
long oom_disarm(void) {
  armed = 0;
  return count;
}

/* The object file whose call the last failure was: the innermost that is neither CPython nor a C library. */
const char *oom_owner(void) { return owner; }

long oom_live(void) { return __atomic_load_n(&live, __ATOMIC_RELAXED); }

static int is_extension(const char *path) { return strstr(path, ".cpython-") || strstr(path, ".abi3."); }

static int is_spared(void) {
  void *frames[FRAMES];
  Dl_info object;
  looking = 1;
  const int depth = backtrace(frames, FRAMES);
  looking = 0;
  owner[0] = 0;
  for (int i = 0; i < depth && !owner[0]; i++)
    if (dladdr(frames[i], &object) && object.dli_fname && is_extension(object.dli_fname))
      strncpy(owner, object.dli_fname, sizeof owner - 1);
  for (int i = 0; i < depth; i++)
    for (int j = 0; j < ranges; j++)
      if ((uintptr_t)frames[i] >= spared[j].begin && (uintptr_t)frames[i] < spared[j].end) return 1;
  return 0;
}

static int fails(void) {
  if (!armed || looking || !pthread_equal(thread, pthread_self())) return 0;
  if (++count < chosen || !chosen || (failures && !persistent) || is_spared()) return 0;
  failures++;
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
