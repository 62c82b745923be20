"""The memory of a stream: one allocation, in which one function places every buffer, for its size first and then for
good. Threads place their own scratch with the function that places the stream's."""

cimport cython
from cpython.mem cimport PyMem_Free
from libc.stdint cimport INT32_MAX, int32_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove, memset

import os

import numpy as np

from .. import memory
from .c cimport (
    ALIGN, allocate, bytes_of, fg_plus, fg_round_up, fg_rows, fg_times, FG_TOO_LARGE, idx, NO_NODE)
from .codes cimport (
    fg_layer, fg_op_line, Instruction, is_line, is_recurrent, MIRROR, OVERLAP_ADD, SCAN, Value, WAIT, WINDOW)
from .execute cimport Arena, fill_line, Mark
from .plan cimport Plan
from .run cimport (
    fg_scans_together, held_before, product_width, Recurrence, row, Run, Window, windows_due)

# Guard bytes behind every buffer of a stream, checked after every call; see docs/testing.md.
cdef bint GUARDED = os.environ.get("FASTGRU_GUARD", "0") not in ("", "0")

cdef enum:
    GUARD = 64          # bytes behind every buffer where FASTGRU_GUARD is set
    GUARD_BYTE = 0xA5


@cython.final
cdef class Buffers:
    """What a stream of `batch` rows (None: one, without a batch axis) keeps, and what its calls compute in.

    Where it is only to be measured, it counts its bytes and finds the node that needs most of them.
    """

    def __cinit__(self, Plan plan not None, batch, idx block, bint measure):
        if plan.kernels == &plan.elsewhere or (plan.measure and not measure):
            raise ValueError(f"plan must be packed to run here, got one of {plan.isa}")
        self.plan, self.batch = plan, batch
        self.B = 1 if batch is None else batch
        self.block = block if block > 0 else plan.block(self.B)
        self.still = {}
        self.recurrences = <Recurrence *>allocate(plan.n_recurrences, sizeof(Recurrence))
        self.rows = <fg_rows *>allocate(plan.n_values, sizeof(fg_rows))
        self.windows = <Window *>allocate(plan.n_windows, sizeof(Window))
        self.slot_bytes = <idx *>allocate(plan.n_slots, sizeof(idx))
        self.slot_data = <char **>allocate(plan.n_slots, sizeof(char *))
        self.describe()
        self.measure()
        if measure:
            self.find_largest()
            return
        if self.bytes + plan.bytes > memory.get_memory_limit():
            self.find_largest()
            rows = "of one row" if batch is None else f"of {batch} rows"
            steps = "" if block <= 0 else f" and {block} steps"
            memory.check(self.bytes + plan.bytes, f"a stream {rows}{steps}", self.largest)
        self.place_all()
        self.begin_run()
        lead = () if batch is None else (self.B,)
        for v in plan.inputs:
            if not plan.sizes[v][1]:
                self.still[v] = np.zeros(lead + plan.shapes[v], plan.dtype if plan.sizes[v][0] else np.int64)
        self.initialise()

    def __dealloc__(self):
        free(self.saved)
        free_arena(&self.arena)
        PyMem_Free(self.slot_bytes)
        PyMem_Free(self.slot_data)
        PyMem_Free(self.windows)
        PyMem_Free(self.recurrences)
        PyMem_Free(self.rows)

    cdef void describe(self) noexcept:
        """Say what is to be laid out."""
        cdef Layout *to = &self.layout
        cdef Plan plan = self.plan
        to.instructions, to.n_instructions, to.values, to.n_values = (
            plan.instructions, plan.n_instructions, plan.values, plan.n_values)
        to.n_slots, to.n_recurrences, to.n_windows = plan.n_slots, plan.n_recurrences, plan.n_windows
        to.n_bases = plan.bases
        to.item, to.lanes, to.unfused = plan.kernels.item, plan.kernels.lanes, plan.unfused
        to.narrow = plan.weights.scratch
        to.apart, to.B, to.block = GUARDED, self.B, self.block
        to.rows, to.recurrences, to.windows = self.rows, self.recurrences, self.windows
        to.slot_bytes, to.slot_data = self.slot_bytes, self.slot_data

    cdef void measure(self) noexcept:
        """Count the bytes of the stream."""
        cdef Arena arena = empty_arena()
        lay_out(&self.layout, &arena)
        lay_out_scratch(&self.layout, &arena, &self.run)
        self.bytes = arena.at

    cdef int find_largest(self) except -1:
        """Find the node whose buffer is the largest."""
        cdef Arena arena = empty_arena()
        cdef int mark
        arena.marks = <Mark *>allocate(most_marks(&self.layout), sizeof(Mark))
        lay_out(&self.layout, &arena)
        mark = largest_mark(&arena)
        self.largest = None if mark < 0 else self.plan.nodes[arena.marks[mark].node]
        PyMem_Free(arena.marks)
        return 0

    cdef int place_all(self) except -1:
        """Allocate the memory of the stream and place every buffer in it."""
        self.arena = empty_arena()
        fill_arena(&self.arena, self.bytes, most_marks(&self.layout))
        lay_out(&self.layout, &self.arena)
        lay_out_scratch(&self.layout, &self.arena, &self.run)
        return 0

    cdef void begin_run(self) noexcept:
        """Fill in what is the same in every call."""
        cdef Plan plan = self.plan
        cdef Run *run = &self.run
        run.kernels, run.narrow, run.gemm = plan.kernels, plan.narrow, NULL
        if plan.blas != NULL:
            run.gemm = plan.blas.f32 if plan.dtype == "float32" else plan.blas.f64
        run.instructions, run.n_instructions = plan.instructions, plan.n_instructions
        run.values, run.n_values = plan.values, plan.n_values
        run.rows, run.recurrences, run.windows = self.rows, self.recurrences, self.windows
        run.B, run.arena, run.arena_bytes = self.B, self.arena.base, self.arena.at
        run.part, run.parts, run.bad_id, run.misfit, run.watch, run.room = 0, 1, 0, 0, NULL, self.layout.max_steps
        run.loop_begin, run.loop_end, run.loop_clock = plan.loop_begin, plan.loop_end, plan.loop_clock
        run.loop_moved, run.moved, run.n_loops = plan.loop_moved, plan.moved, plan.n_loops
        run.clocks, run.bases = plan.clocks, plan.bases
        run.mixed = plan.framed or plan.bases > 1

    cdef int check_arena(self, const Arena *arena) except -1:
        cdef int mark = overwritten(arena)
        if mark >= 0:
            owner = arena.marks[mark].node
            owner = "scratch" if owner == NO_NODE else f"node {self.plan.nodes[owner]!r}"
            raise SystemError(
                f"buffer {mark} of {arena.count} ({owner}, {arena.marks[mark].bytes} bytes) was written behind its end"
            )
        return 0

    cdef void initialise(self) noexcept:
        cdef idx b
        cdef int i
        cdef const Instruction *ins
        for array in self.still.values():
            array.fill(0)
        for b in range(self.B):
            self.initialise_row(b)
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if ins.op == OVERLAP_ADD:
                self.windows[ins.line.window].held, self.windows[ins.line.window].drop = 0, ins.line.before

    cdef void initialise_row(self, idx b) noexcept:
        """Row b's state as a fresh stream has it."""
        cdef int i
        cdef const Instruction *ins
        cdef const fg_layer *layer
        cdef Recurrence *r
        cdef idx item = self.plan.kernels.item
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if is_line(ins):
                self.begin_window(ins, b)
            if not is_recurrent(ins):
                continue
            layer = &ins.recurrent.layer
            r = &self.recurrences[layer.state]
            fill(r.h[r.now] + b * layer.features_padded * item, layer.initial_h, layer.features * item)
            fill(r.c + b * layer.units_padded * item, layer.initial_c, layer.units * item)
            memset(r.last + b * layer.features * item, 0, layer.features * item)
        for i in range(self.plan.n_values):
            if self.plan.values[i].state:
                fill(row(&self.rows[i], item, 0, b), self.plan.values[i].initial, self.plan.values[i].size * item)

    cdef void begin_window(self, const Instruction *ins, idx b) noexcept:
        """A line as it is before the first step: the steps in front of the sequence."""
        cdef const fg_op_line *line = &ins.line
        cdef Window *w = &self.windows[line.window]
        cdef idx item = self.plan.kernels.item
        if ins.op == OVERLAP_ADD:
            memset(w.line + b * w.capacity * ins.size * item, 0, w.capacity * ins.size * item)
            return
        if ins.op == MIRROR:
            w.held, w.drop = 0, 0
            return
        w.held, w.drop = max(0, line.before), max(0, -line.before)
        fill_line(ins, &self.run, w.line + b * w.capacity * ins.size * item, w.held)

    cdef idx state_bytes(self) noexcept:
        """Bytes of what `save` keeps."""
        return (self.layout.state_bytes + self.plan.n_recurrences * sizeof(Recurrence)
                + self.plan.n_windows * sizeof(Window))

    cdef int save(self) except -1:
        """Keep the state, for `restore`."""
        cdef char *to
        if self.saved == NULL:
            self.saved = <char *>calloc(1, max(1, self.state_bytes()))
            if self.saved == NULL:
                raise MemoryError(f"{self.state_bytes()} bytes to keep the state of a stream could not be allocated")
        to = self.saved
        memcpy(to, self.arena.base, self.layout.state_bytes)
        to += self.layout.state_bytes
        memcpy(to, self.recurrences, self.plan.n_recurrences * sizeof(Recurrence))
        to += self.plan.n_recurrences * sizeof(Recurrence)
        memcpy(to, self.windows, self.plan.n_windows * sizeof(Window))
        return 0

    cdef void restore(self) noexcept:
        """Return to the state that `save` kept, and every buffer to its place."""
        cdef const char *source = self.saved
        memcpy(self.arena.base, source, self.layout.state_bytes)
        source += self.layout.state_bytes
        memcpy(self.recurrences, source, self.plan.n_recurrences * sizeof(Recurrence))
        source += self.plan.n_recurrences * sizeof(Recurrence)
        memcpy(self.windows, source, self.plan.n_windows * sizeof(Window))
        self.place_rows()

    cdef void place_rows(self) noexcept:
        """Let every value in the arena begin where it was placed: a call that ends early leaves some moved on."""
        cdef Arena arena = self.arena
        arena.at, arena.count = 0, 0
        lay_out(&self.layout, &arena)
        lay_out_scratch(&self.layout, &arena, &self.run)

    cdef void settle(self) noexcept:
        """Move the steps that windows and waits keep to the beginning of their lines, where those of a row that begins
        anew lie."""
        cdef idx b, kept, width, item = self.plan.kernels.item
        cdef int i
        cdef char *line
        cdef const Instruction *ins
        cdef Window *w
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if ins.op != WINDOW and ins.op != WAIT:
                continue
            w = &self.windows[ins.line.window]
            kept, width = max(0, held_before(w)), ins.size * item
            for b in range(self.B if w.drop > 0 and kept > 0 else 0):
                line = w.line + b * w.capacity * width
                memmove(line, line + w.drop * width, kept * width)
            w.held, w.drop = kept, max(0, w.drop - w.held)

    cdef bint alike(self, Buffers other) noexcept:
        """True if the state of another plan's buffers lies as this one's."""
        cdef int i
        cdef idx apart = self.arena.base - other.arena.base
        if (self.B != other.B or self.layout.state_bytes != other.layout.state_bytes
                or self.plan.n_recurrences != other.plan.n_recurrences or self.plan.n_windows != other.plan.n_windows):
            return False
        for i in range(self.plan.n_recurrences):
            if self.recurrences[i].c - other.recurrences[i].c != apart:
                return False
        for i in range(self.plan.n_windows):
            if (self.windows[i].line - other.windows[i].line != apart
                    or self.windows[i].capacity != other.windows[i].capacity):
                return False
        return True

    cdef int copy_state(self, Buffers other) except -1:
        """Take over the state of buffers of the same plan and rows, or of such that are `alike`."""
        cdef int i
        memcpy(self.arena.base, other.arena.base, self.layout.state_bytes)
        for i in range(self.plan.n_recurrences):
            self.recurrences[i].now = other.recurrences[i].now
        for i in range(self.plan.n_windows):
            self.windows[i].held, self.windows[i].drop = other.windows[i].held, other.windows[i].drop
        for v, array in other.still.items():
            self.still[v][...] = array
        return 0


def stream_bytes(Plan plan, batch=None):
    """Bytes that a stream of so many rows allocates, and the node that needs most of them (None if none does)."""
    cdef Buffers measured = Buffers(plan, batch, 0, True)
    return measured.bytes, measured.largest


cdef void lay_out(Layout *l, Arena *arena) noexcept nogil:
    """Place every buffer: the state first, then values and scratch."""
    cdef int i
    cdef idx rows
    cdef const Instruction *ins
    l.widest, l.most_rows, l.scan_mask, l.index = 1, l.B, 0, 0
    for i in range(l.n_values):
        l.rows[i].b_stride = max(1, l.values[i].size)
        l.rows[i].t_stride = fg_times(l.B, l.rows[i].b_stride)
    for i in range(l.n_bases):
        l.max_steps[i] = l.block
    for i in range(l.n_instructions):
        ins = &l.instructions[i]
        if is_line(ins):
            lay_out_window(l, arena, ins)
        elif is_recurrent(ins):
            lay_out_recurrence_state(l, arena, ins, l.B)
    for i in range(l.n_values):
        if l.values[i].state:
            l.rows[i].data = place(arena, value_bytes(l, i), l.values[i].node)
    l.state_bytes = arena.at
    for i in range(l.n_instructions):
        ins = &l.instructions[i]
        if is_recurrent(ins):
            lay_out_recurrence(l, arena, ins, l.max_steps[ins.clock], l.B)
            l.index = max(l.index, fg_times(l.max_steps[ins.clock], l.B))
        elif ins.op == SCAN:
            rows = l.max_steps[ins.clock] if l.values[ins.output].time else 1
            rows = fg_times(ins.scan.rows, fg_scans_together(&ins.scan, rows, l.B))
            lay_out_recurrence_state(l, arena, ins.scan.layer, rows)
            lay_out_recurrence(l, arena, ins.scan.layer, ins.scan.steps, rows)
            l.most_rows = max(l.most_rows, rows)
            l.scan_mask = max(l.scan_mask, fg_times(ins.scan.steps, rows))
            l.index = max(l.index, l.scan_mask)
    for i in range(l.n_values):
        if not (l.values[i].line or l.values[i].given or l.values[i].state) and (l.apart or l.values[i].slot < 0):
            l.rows[i].data = place(arena, value_bytes(l, i), l.values[i].node)
    if l.index > INT32_MAX:
        arena.at = FG_TOO_LARGE  # its steps and rows are numbered in 32 bits
    l.slots_at = arena.at
    if not l.apart:
        lay_out_slots(l, arena)
    l.slots_bytes = arena.at - l.slots_at


cdef void lay_out_slots(Layout *l, Arena *arena) noexcept nogil:
    """Place the memory that values share which are not alive at the same time."""
    cdef int i, slot
    memset(l.slot_bytes, 0, l.n_slots * sizeof(idx))
    for i in range(l.n_values):
        slot = l.values[i].slot
        if slot >= 0:
            l.slot_bytes[slot] = max(l.slot_bytes[slot], value_bytes(l, i))
    for slot in range(l.n_slots):
        l.slot_data[slot] = place(arena, l.slot_bytes[slot], NO_NODE)
    for i in range(l.n_values):
        if l.values[i].slot >= 0:
            l.rows[i].data = l.slot_data[l.values[i].slot]


cdef void lay_out_scratch(const Layout *l, Arena *arena, Run *run) noexcept nogil:
    """Place what a thread needs for itself while it runs."""
    run.index = <int32_t *>place(arena, bytes_of(l.index, 1, sizeof(int32_t)), NO_NODE)
    run.active = <int32_t *>place(arena, bytes_of(l.most_rows, 1, sizeof(int32_t)), NO_NODE)
    run.scan_mask = <uint8_t *>place(arena, l.scan_mask, NO_NODE)
    run.scratch = place(arena, l.narrow, NO_NODE)
    run.product = place(arena, bytes_of(l.most_rows, l.widest, l.item) if l.unfused else 0, NO_NODE)


cdef char *lay_out_part(const Layout *l, Arena *arena, Run *run) noexcept nogil:
    """Place what a thread needs for itself; returns where its copy of the shared slots begins."""
    lay_out_scratch(l, arena, run)
    return place(arena, l.slots_bytes, NO_NODE)


cdef void lay_out_recurrence_state(Layout *l, Arena *arena, const Instruction *ins, idx B) noexcept nogil:
    """Place what a recurrence of B rows carries from step to step."""
    cdef const fg_layer *layer = &ins.recurrent.layer
    cdef Recurrence *r = &l.recurrences[layer.state]
    r.h[0] = place(arena, bytes_of(B, layer.features_padded, l.item), ins.node)
    r.h[1] = place(arena, bytes_of(B, layer.features_padded, l.item), ins.node)
    r.c = place(arena, bytes_of(B, layer.units_padded, l.item), ins.node)
    r.last = place(arena, bytes_of(B, layer.features, l.item), ins.node)


cdef void lay_out_recurrence(Layout *l, Arena *arena, const Instruction *ins, idx T, idx B) noexcept nogil:
    """Place the scratch of a recurrence over blocks of T steps and B rows."""
    cdef const fg_layer *layer = &ins.recurrent.layer
    cdef Recurrence *r = &l.recurrences[layer.state]
    cdef int p
    cdef idx width
    r.s0 = place(arena, bytes_of(B, layer.units_padded, l.item), ins.node)
    r.s1 = place(arena, bytes_of(B, layer.units_padded, l.item), ins.node)
    r.y = place(arena, bytes_of(B, layer.features_padded, l.item), ins.node)
    for p in range(layer.n_phases):
        width = product_width(&layer.phases[p], l.lanes)
        l.widest = max(l.widest, width)
        if layer.phases[p].x.data != NULL or layer.phases[p].table != NULL:
            r.x[p] = place(arena, bytes_of(fg_times(T, B), width, l.item), ins.node)


cdef void lay_out_window(Layout *l, Arena *arena, const Instruction *ins) noexcept nogil:
    """Place a line long enough for a block behind the steps it keeps; windows over it are the rows of a value."""
    cdef const fg_op_line *line = &ins.line
    cdef Window *w = &l.windows[line.window]
    cdef fg_rows *rows = &l.rows[ins.output]
    cdef int clock = l.values[ins.output].clock
    cdef idx due
    w.capacity = line.kept
    if ins.op == OVERLAP_ADD:
        # Room for so many frames that moving the sums back after them costs no more than adding them.
        due = min(l.max_steps[ins.clock], line.kept // line.stride + 1)
        w.capacity = fg_plus(line.kept, fg_times(due, line.stride))
        due = fg_plus(fg_times(l.max_steps[ins.clock], line.stride), fg_plus(line.after, ins.overlap_add.rest))
    elif ins.op == MIRROR:
        due = fg_plus(l.max_steps[ins.clock], fg_plus(line.kept, fg_plus(line.before, line.after)))
    else:
        w.capacity = fg_plus(fg_plus(line.kept, l.max_steps[ins.clock]), line.after)
        due = max(1, windows_due(line, w.capacity)) if ins.op == WINDOW else w.capacity
    if ins.op == WAIT and ins.wait.n_meeting == 0 or ins.op == WINDOW and clock == ins.clock:
        pass  # counted by the clock of another value
    else:
        l.max_steps[clock] = due
    w.line = place(arena, fg_times(bytes_of(l.B, w.capacity, ins.size), l.item), ins.node)
    if ins.op == WINDOW or ins.op == WAIT:
        rows.data, rows.t_stride = w.line, fg_times(line.stride, ins.size)
        rows.b_stride = fg_times(w.capacity, ins.size)


cdef idx value_bytes(const Layout *l, int value) noexcept nogil:
    """Bytes of the rows of a value in one block."""
    cdef const Value *v = &l.values[value]
    return fg_times(bytes_of(l.max_steps[v.clock] if v.time else 1, l.B, l.rows[value].b_stride), v.item)


cdef int most_marks(const Layout *l) noexcept nogil:
    """The most buffers that `lay_out` and `lay_out_scratch` place."""
    return l.n_values + l.n_slots + 9 * l.n_recurrences + l.n_windows + 5


cdef char *place(Arena *arena, idx size, int node) noexcept nogil:
    """The next `size` bytes, aligned."""
    cdef idx begin = arena.at
    arena.at = fg_plus(arena.at, fg_round_up(fg_plus(size, arena.guard), ALIGN))
    if arena.marks != NULL:
        arena.marks[arena.count].begin, arena.marks[arena.count].bytes = begin, size
        arena.marks[arena.count].node = node
    arena.count += 1
    if arena.base == NULL:
        return NULL
    if arena.guard:
        memset(arena.base + begin + size, GUARD_BYTE, arena.at - begin - size)
    return arena.base + begin


cdef int overwritten(const Arena *arena) noexcept nogil:
    """The mark behind which a guard was written to, or -1."""
    cdef int i
    cdef idx at, end
    for i in range(arena.count if arena.guard and arena.marks != NULL else 0):
        end = arena.marks[i + 1].begin if i + 1 < arena.count else arena.at
        for at in range(arena.marks[i].begin + arena.marks[i].bytes, end):
            if <uint8_t>arena.base[at] != GUARD_BYTE:
                return i
    return -1


cdef int largest_mark(const Arena *arena) noexcept nogil:
    """The mark of the largest buffer that belongs to a node, or -1."""
    cdef int i, best = -1
    for i in range(arena.count):
        if arena.marks[i].node != NO_NODE and (best < 0 or arena.marks[i].bytes > arena.marks[best].bytes):
            best = i
    return best


cdef Arena empty_arena() noexcept:
    """An arena that counts."""
    cdef Arena arena
    memset(&arena, 0, sizeof(Arena))
    arena.guard = GUARD if GUARDED else 0
    return arena


cdef int fill_arena(Arena *arena, idx size, int marks) except -1:
    """Give an empty arena zeroed memory: what pads a buffer must be finite, since it meets zero weights.

    Pages of a large arena are zeroed when they are first used: of 300 MB, at once took 0.3 s that no signal could end.
    """
    if arena.guard:
        arena.marks = <Mark *>allocate(marks, sizeof(Mark))
    arena.block = calloc(1, size + ALIGN)
    if arena.block == NULL:
        raise MemoryError(f"{size} bytes for a stream could not be allocated")
    arena.base = <char *>arena.block + (-<size_t>arena.block) % ALIGN
    return 0


cdef void free_arena(Arena *arena) noexcept:
    free(arena.block)
    PyMem_Free(arena.marks)


cdef void fill(char *to, const void *source, idx size) noexcept:
    if source == NULL:
        memset(to, 0, size)
    else:
        memcpy(to, source, size)
