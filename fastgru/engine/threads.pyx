"""A call on several threads: rows of the batch apart, layers side by side, or panels of large recurrences."""

cimport cython
from cpython.exc cimport PyErr_CheckSignals  # no-cython-lint
from cpython.mem cimport PyMem_Free
from libc.string cimport memcpy, memset

import numpy as np

from .. import memory
from .buffers cimport Buffers, empty_arena, fill_arena, free_arena, lay_out_part, most_marks
from .c cimport allocate, fg_plus, fg_rows, fg_times, idx
from .codes cimport fg_layer, Instruction, is_line, is_recurrent
from .execute cimport Arena, inside, Job, MOST_TASKS, Part, run_instructions, run_together, Tasks
from .plan cimport Plan
from .run cimport product_width, Recurrence, Run, Window

cdef enum:
    # Below this work a thread costs more than it gives: waking it takes some 5 to 60 us.
    SPLIT_MACS = 1000000
    TASK_BLOCKS = 16         # into how many blocks a sequence is cut that layers pass on to each other
    MAX_THREADS = 64

cdef int default_threads = 1


def set_num_threads(n):
    """The number of threads that calls use which are not told one. 1 until this is called.

    Parameters
    ----------
    n : int
        1 to 64. Threads start when a call first needs them.

    Examples
    --------
    >>> set_num_threads(2)
    >>> get_num_threads()
    2
    >>> set_num_threads(1)
    """
    global default_threads
    default_threads = checked_threads(n)


def get_num_threads():
    """The number of threads that calls use which are not told one."""
    return default_threads


def checked_threads(n):
    """`n` as an int, or an error that says what it must be."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 1 <= n <= MAX_THREADS:
        raise ValueError(f"threads must be an integer from 1 to {MAX_THREADS}, got {n!r}")
    return int(n)


@cython.final
cdef class Team:
    """The threads' views of the calls of one stream, with scratch of their own, kept from call to call."""

    def __cinit__(self, Buffers buffers not None):
        self.plan, self.buffers = buffers.plan, buffers

    def __dealloc__(self):
        self.free_parts()
        free_arena(&self.second_arena)
        PyMem_Free(self.second)

    cdef int run_threaded(self, idx T, int threads) except -1:
        """Rows of the batch apart; else layers side by side; else the panels of large recurrences."""
        cdef Plan plan = self.plan
        cdef Buffers own = self.buffers
        cdef Job job
        cdef Tasks tasks
        cdef int i, error, parts = 1
        cdef bint split = fg_times(plan.macs, fg_times(T, own.B)) >= SPLIT_MACS
        cdef bint rows = own.B > 1 and split and not plan.scans
        cdef bint wave = (not rows and split and not own.run.mixed and plan.n_recurrences > 1 and T > 1
                          and plan.n_instructions <= MOST_TASKS)
        job.tasks = NULL
        job.T, job.block, job.whole, job.first = T, own.block, &own.run, own.rows
        if rows:
            parts = min(threads, own.B)
        elif wave:
            parts = min(threads, plan.n_recurrences)
        elif own.B == 1 and plan.macs >= PANEL_MACS and plan.blas == NULL and not own.run.mixed:
            parts = threads
        if parts == 1:
            with nogil:
                run_instructions(&own.run, T, own.block)
            return 0
        if wave:
            if not plan.blockers:
                job.block = min(own.block, max(4, T // TASK_BLOCKS))
            self.make_second()
            job.second, job.tasks = self.second, &tasks
            memset(&tasks, 0, sizeof(tasks))
        self.make_parts(parts)
        job.parts = self.parts
        for i in range(parts):
            self.fill_part(&self.parts[i], i, parts, rows, wave)
            self.parts[i].run.barrier = &job.barrier
        with nogil:
            error = run_together(&job, parts)
        if error:
            raise RuntimeError(f"threads could not be started: error {error} on starting {parts - 1}")
        for i in range(parts):
            own.run.bad_id = own.run.bad_id or self.parts[i].run.bad_id
            own.run.misfit = own.run.misfit or self.parts[i].run.misfit
        if not wave:
            for i in range(plan.n_recurrences):
                own.recurrences[i].now = self.parts[0].recurrences[i].now
            for i in range(plan.n_windows):
                own.windows[i].held = self.parts[0].windows[i].held
                own.windows[i].drop = self.parts[0].windows[i].drop
        return 0

    cdef int make_parts(self, int parts) except -1:
        """Make room for so many threads' views, kept from call to call."""
        cdef int i
        cdef Arena size = empty_arena()
        cdef Run scratch
        if parts <= self.n_parts:
            return 0
        self.free_parts()
        lay_out_part(&self.buffers.layout, &size, &scratch)
        memory.check(fg_plus(fg_plus(self.buffers.bytes, self.plan.bytes), fg_times(parts, size.at)),
                     f"a stream on {parts} threads", None)
        self.parts = <Part *>allocate(parts, sizeof(Part))
        self.n_parts = parts
        try:
            for i in range(parts):
                self.parts[i].rows = <fg_rows *>allocate(self.plan.n_values, sizeof(fg_rows))
                self.parts[i].recurrences = <Recurrence *>allocate(self.plan.n_recurrences, sizeof(Recurrence))
                self.parts[i].windows = <Window *>allocate(self.plan.n_windows, sizeof(Window))
                self.parts[i].arena = empty_arena()
                fill_arena(&self.parts[i].arena, size.at, most_marks(&self.buffers.layout))
        except MemoryError:
            self.free_parts()
            raise
        return 0

    cdef void free_parts(self) noexcept:
        cdef int i
        for i in range(self.n_parts):
            PyMem_Free(self.parts[i].rows)
            PyMem_Free(self.parts[i].recurrences)
            PyMem_Free(self.parts[i].windows)
            free_arena(&self.parts[i].arena)
        PyMem_Free(self.parts)
        self.parts, self.n_parts = NULL, 0

    cdef int make_second(self) except -1:
        """Make a second buffer for every value of the arena, beside the first."""
        cdef int i
        cdef fg_rows *second
        if self.second != NULL:
            return 0
        memory.check(fg_plus(fg_times(2, self.buffers.bytes), self.plan.bytes), "a stream on several threads", None)
        second = <fg_rows *>allocate(self.plan.n_values, sizeof(fg_rows))
        try:
            self.second_arena.guard = 0
            fill_arena(&self.second_arena, self.buffers.arena.at, 0)
        except MemoryError:
            PyMem_Free(second)
            raise
        for i in range(self.plan.n_values):
            second[i] = self.buffers.rows[i]
            if inside(&self.buffers.run, &self.buffers.rows[i]):
                second[i].data = self.second_arena.base + (<char *>self.buffers.rows[i].data - self.buffers.arena.base)
        self.second = second
        return 0

    cdef void fill_part(self, Part *part, int i, int parts, bint rows, bint wave) noexcept:
        """Make thread i's view of this call: its rows of every buffer, or all of them with scratch of its own."""
        cdef Plan plan = self.plan
        cdef Buffers own = self.buffers
        cdef Arena arena = part.arena
        cdef idx from_row = own.B * i // parts if rows else 0
        cdef idx to_row = own.B * (i + 1) // parts if rows else own.B
        cdef idx item = plan.kernels.item
        cdef int v, p
        cdef const Instruction *ins
        cdef const fg_layer *layer
        cdef Recurrence *r
        cdef Window *w
        cdef char *slots
        arena.at, arena.count = 0, 0
        part.run = own.run
        part.run.listens = own.run.listens and i == 0
        part.run.rows, part.run.windows = part.rows, part.windows
        memcpy(part.windows, own.windows, plan.n_windows * sizeof(Window))
        part.run.B = to_row - from_row
        part.run.part = 0 if rows or wave else i
        part.run.parts = 1 if rows or wave else parts
        slots = lay_out_part(&own.layout, &arena, &part.run)
        part.arena.count, part.arena.at = arena.count, arena.at
        if part.run.mask != NULL:
            part.run.mask += from_row * part.run.mask_b
        for v in range(plan.n_values):
            part.rows[v] = own.rows[v]
            part.rows[v].data = <char *>own.rows[v].data + from_row * own.rows[v].b_stride * plan.values[v].item
        if wave:
            return
        for v in range(plan.n_values):  # threads are not at the same instruction: one would write what another reads
            if plan.values[v].slot >= 0 and not own.layout.apart:
                part.rows[v].data = slots + (<char *>own.rows[v].data - own.arena.base - own.layout.slots_at)
                part.rows[v].t_stride = part.run.B * own.rows[v].b_stride
        part.run.recurrences = part.recurrences
        memcpy(part.recurrences, own.recurrences, plan.n_recurrences * sizeof(Recurrence))
        for v in range(plan.n_instructions):
            ins = &plan.instructions[v]
            if is_line(ins):
                w = &part.windows[ins.line.window]
                w.line += from_row * w.capacity * ins.size * item
            if not is_recurrent(ins):
                continue
            layer = &ins.recurrent.layer
            r = &part.recurrences[layer.state]
            r.h[0] += from_row * layer.features_padded * item
            r.h[1] += from_row * layer.features_padded * item
            r.c += from_row * layer.units_padded * item
            r.s0 += from_row * layer.units_padded * item
            r.s1 += from_row * layer.units_padded * item
            r.y += from_row * layer.features_padded * item
            r.last += from_row * layer.features * item
            for p in range(layer.n_phases):
                if r.x[p] != NULL:
                    r.x[p] += (own.layout.max_steps[ins.clock] * from_row
                               * product_width(&layer.phases[p], plan.kernels.lanes) * item)

    cdef int check_guards(self) except -1:
        """Raise SystemError if a guard byte of the stream or of a thread was written."""
        cdef int i
        self.buffers.check_arena(&self.buffers.arena)
        for i in range(self.n_parts):
            self.buffers.check_arena(&self.parts[i].arena)
        return 0


cdef int check_signals(void *raised) noexcept with gil:
    """Run the handlers of pending signals; 1 if one raised, with what it raised in the list."""
    try:
        PyErr_CheckSignals()
    except BaseException as error:
        (<list>raised)[0] = error
        return 1
    return 0
