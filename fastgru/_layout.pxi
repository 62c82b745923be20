# The memory of a stream: one function places every buffer, for its size first and then for good. Threads place their
# own scratch with the function that places the stream's.

cdef enum:
    GUARD = 64          # bytes behind every buffer where FASTGRU_GUARD is set
    GUARD_BYTE = 0xA5
    NO_NODE = -1

# A buffer and the node it belongs to.
cdef struct Mark:
    idx begin, bytes
    int node

# A block of memory that is handed out from its beginning.
cdef struct Arena:
    char *base          # NULL while only sizes are counted
    void *block         # what `base` lies in
    idx at              # bytes handed out; FG_TOO_LARGE: more than can be
    idx guard           # bytes behind every buffer that nothing may write
    Mark *marks         # of every buffer, or NULL
    int count

# Everything that is placed, and the sizes that placing it gives.
cdef struct Layout:
    const Instruction *instructions
    const Value *values
    int n_instructions, n_values, n_slots, n_recurrences, n_windows, n_bases
    idx item, lanes, narrow   # bytes of a number and of the scratch that low precision needs, numbers of a vector
    bint unfused              # some recurrent product is not made with its gates
    bint apart                # no two values share memory
    idx B, block
    fg_rows *rows
    Recurrence *recurrences
    Window *windows
    idx *slot_bytes           # of each slot
    char **slot_data
    idx[32] max_steps         # of each clock in a block
    idx state_bytes           # of what is carried from call to call: the first of the arena
    idx slots_at, slots_bytes  # of the values that share memory
    idx widest, most_rows     # of the products that are not fused
    idx scan_mask             # steps and rows of the largest recurrence inside an item
    idx index                 # and of the largest recurrence at all


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


cdef idx bytes_of(idx count, idx width, idx size) noexcept nogil:
    return fg_times(fg_times(count, width), size)


cdef inline idx product_width(const fg_phase *phase, idx lanes) noexcept nogil:
    """Numbers of a row of the products of a phase."""
    return phase.u.panels * phase.u.gates * lanes


cdef void lay_out(Layout *l, Arena *arena) noexcept nogil:
    """Place every buffer: the state first, then values and scratch."""
    cdef int i, slot
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
        elif ins.op == RECURRENT:
            lay_out_recurrence_state(l, arena, ins, l.B)
    for i in range(l.n_values):
        if l.values[i].state:
            l.rows[i].data = place(arena, value_bytes(l, i), l.values[i].node)
    l.state_bytes = arena.at
    for i in range(l.n_instructions):
        ins = &l.instructions[i]
        if ins.op == RECURRENT:
            lay_out_recurrence(l, arena, ins, l.max_steps[ins.clock], l.B)
            l.index = max(l.index, fg_times(l.max_steps[ins.clock], l.B))
        elif ins.op == SCAN:
            rows = l.max_steps[ins.clock] if l.values[ins.output].time else 1
            rows = fg_times(ins.frame.rows, fg_scans_together(ins.frame, rows, l.B))
            lay_out_recurrence_state(l, arena, ins.frame.layer, rows)
            lay_out_recurrence(l, arena, ins.frame.layer, ins.frame.steps, rows)
            l.most_rows = max(l.most_rows, rows)
            l.scan_mask = max(l.scan_mask, fg_times(ins.frame.steps, rows))
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


cdef void lay_out_recurrence_state(Layout *l, Arena *arena, const Instruction *ins, idx B) noexcept nogil:
    """Place what a recurrence of B rows carries from step to step."""
    cdef Recurrence *r = &l.recurrences[ins.state]
    r.h[0] = place(arena, bytes_of(B, ins.features_padded, l.item), ins.node)
    r.h[1] = place(arena, bytes_of(B, ins.features_padded, l.item), ins.node)
    r.c = place(arena, bytes_of(B, ins.units_padded, l.item), ins.node)
    r.last = place(arena, bytes_of(B, ins.features, l.item), ins.node)


cdef void lay_out_recurrence(Layout *l, Arena *arena, const Instruction *ins, idx T, idx B) noexcept nogil:
    """Place the scratch of a recurrence over blocks of T steps and B rows."""
    cdef Recurrence *r = &l.recurrences[ins.state]
    cdef int p
    cdef idx width
    r.s0 = place(arena, bytes_of(B, ins.units_padded, l.item), ins.node)
    r.s1 = place(arena, bytes_of(B, ins.units_padded, l.item), ins.node)
    r.y = place(arena, bytes_of(B, ins.features_padded, l.item), ins.node)
    for p in range(ins.n_phases):
        width = product_width(&ins.phase[p], l.lanes)
        l.widest = max(l.widest, width)
        if ins.wx[p].data != NULL or ins.table[p] != NULL:
            r.x[p] = place(arena, bytes_of(fg_times(T, B), width, l.item), ins.node)


cdef void lay_out_window(Layout *l, Arena *arena, const Instruction *ins) noexcept nogil:
    """Place a line long enough for a block behind the steps it keeps; windows over it are the rows of a value."""
    cdef const Frame *frame = ins.frame
    cdef Window *w = &l.windows[frame.window]
    cdef fg_rows *rows = &l.rows[ins.output]
    cdef int clock = l.values[ins.output].clock
    cdef idx due
    w.capacity = frame.kept
    if ins.op == OVERLAP_ADD:
        # Room for so many frames that moving the sums back after them costs no more than adding them.
        w.capacity = fg_plus(frame.kept, fg_times(min(l.max_steps[ins.clock], frame.kept // frame.stride_in_time + 1),
                                                  frame.stride_in_time))
        due = fg_plus(fg_times(l.max_steps[ins.clock], frame.stride_in_time), fg_plus(frame.after, frame.rest))
    elif ins.op == MIRROR:
        due = fg_plus(l.max_steps[ins.clock], fg_plus(frame.kept, fg_plus(frame.before, frame.after)))
    else:
        w.capacity = fg_plus(fg_plus(frame.kept, l.max_steps[ins.clock]), frame.after)
        due = max(1, windows_due(frame, w.capacity)) if ins.op == WINDOW else w.capacity
    if ins.op == WAIT and frame.n_meeting == 0 or ins.op == WINDOW and clock == ins.clock:
        pass  # counted by the clock of another value
    else:
        l.max_steps[clock] = due
    w.line = place(arena, fg_times(bytes_of(l.B, w.capacity, ins.size), l.item), ins.node)
    if ins.op == WINDOW or ins.op == WAIT:
        rows.data, rows.t_stride = w.line, fg_times(frame.stride_in_time, ins.size)
        rows.b_stride = fg_times(w.capacity, ins.size)


cdef idx value_bytes(const Layout *l, int value) noexcept nogil:
    """Bytes of the rows of a value in one block."""
    cdef const Value *v = &l.values[value]
    return fg_times(bytes_of(l.max_steps[v.clock] if v.time else 1, l.B, l.rows[value].b_stride), v.item)


cdef int most_marks(const Layout *l) noexcept nogil:
    """The most buffers that `lay_out` and `lay_out_scratch` place."""
    return l.n_values + l.n_slots + 9 * l.n_recurrences + l.n_windows + 5
