# The executor: one nogil function an instruction, over a block of T steps and B rows.

cdef enum:
    RECURRENT = 0
    DENSE = 1
    EMBEDDING = 2
    LAYER_NORM = 3
    AFFINE = 4
    ACTIVATE = 5
    MASK = 6
    APPLY_MASK = 7
    REVERSE = 8
    CONCAT = 9
    ADD = 10
    MULTIPLY = 11
    AVERAGE = 12
    FRAME = 13
    STORE = 14
    FRAME_PRODUCT = 15
    FRAME_ROWS = 16
    SCAN = 17
    WINDOW = 18
    OVERLAP_ADD = 19
    MIRROR = 20
    WAIT = 21
    CONVERT = 22
    TOP_K = 23
    STEP_ROWS = 8  # rows of a step whose product and gates are made together; a multiple of the tiles' rows

cdef enum:
    MAX_CLOCKS = 32  # values with steps counted apart
    MAX_LOOPS = 32   # loops of states, one behind another

# The state and scratch of one recurrent instruction, all inside the stream's arena.
cdef struct Recurrence:
    char *h[2]        # (B, features_padded), the current one and the next
    int now            # which of the two is current
    char *c            # (B, units_padded)
    char *s0
    char *s1
    char *y
    char *last         # (B, features) last valid output
    char *x[2]        # (block, B, panels, G, L) input part of each phase

# The last steps of a value that windows slide over; of an overlap-add, the steps not yet complete.
cdef struct Window:
    char *line         # (B, capacity, size)
    idx capacity, held  # steps of room, and steps that are there; of an overlap-add, whether it gave any
    idx drop           # steps that no later window needs; beyond `held` they are still to come and to be skipped

# A long call ends early once a signal's handler has raised, as that of Ctrl-C does.
cdef struct Watch:
    int stop
    int64_t next       # when to look again
    void *raised       # a list whose element is to be the exception

cdef struct Run:
    const fg_kernels *kernels
    const fg_narrow *narrow
    void *scratch             # for `narrow`
    gemm_t gemm               # NULL: packed kernels
    const Instruction *instructions
    int n_instructions, n_values
    const Value *values
    char *arena               # of the stream, to tell its values from the caller's
    size_t arena_bytes
    fg_rows *rows             # of each value
    idx T, B
    const uint8_t *mask       # (T, B) of the whole call, with the strides below, or NULL
    idx[32] done              # steps of each clock in the blocks before, where there is a mask
    idx mask_t, mask_b
    int32_t *index            # (T * B) scratch: active rows of a block
    int32_t *active           # (B) scratch: active rows of a step
    Recurrence *recurrences
    char *product             # (B, panels, G, L) where the recurrent product is not fused with its gates
    bint final                # the last block of the call
    const int *loop_begin     # instructions that run step by step, of each loop
    const int *loop_end
    int n_loops, loop_clock
    idx[32] steps             # of each clock in this block
    int clocks
    Window *windows
    bint ends                 # the sequence ends with this call
    bint rest                 # and what lies behind its end is wanted
    bint flush                # the sequence ends with this block
    bint mixed                # values without time may meet values with it
    uint8_t *scan_mask        # (S, N) steps of a scan that count
    int bad_id                # 1 + the value for which an id was out of range
    Watch *watch              # of a long call: for signals; NULL: none
    bint listens              # this thread is the one that handles them
    int part, parts           # which panels of every recurrence are this thread's; parts 1: all
    fg_barrier *barrier       # where parts > 1 meet

ctypedef void (*execute_t)(const Instruction *, Run *) noexcept nogil


cdef inline char *row(const fg_rows *v, idx item, idx t, idx b) noexcept nogil:
    return <char *>v.data + (t * v.t_stride + b * v.b_stride) * item


cdef enum:
    WATCH_NS = 50000000  # between two looks at signals
    LOOK_STEPS = 64      # and the steps of a loop that asks for the time
    LOOK_COPIES = 4096   # and rows that are only copied
    LOOK_ROWS = 64       # and rows, where each is written to pages of its own

cdef int check_signals(void *raised) noexcept with gil:
    """Run the handlers of pending signals; 1 if one raised, with what it raised in the list."""
    try:
        PyErr_CheckSignals()
    except BaseException as error:
        (<list>raised)[0] = error
        return 1
    return 0


cdef bint look(Run *run) noexcept nogil:
    """Look at signals when it is time to; True if the call is to end early."""
    cdef int64_t now
    if run.listens and not fg_seen(&run.watch.stop):
        now = fg_now()
        if now >= run.watch.next:
            run.watch.next = now + WATCH_NS
            if check_signals(run.watch.raised):
                fg_publish(&run.watch.stop, 1)
    return fg_seen(&run.watch.stop)


cdef inline bint stopped(Run *run) noexcept nogil:
    """True if the call is to end early. Threads that meet at barriers ask `stopped_together`."""
    return run.watch != NULL and look(run)


cdef bint stopped_together(Run *run) noexcept nogil:
    """True on all threads that meet here, or on none."""
    cdef bint stop
    if run.watch == NULL:
        return False
    if run.parts == 1:
        return look(run)
    look(run)
    fg_barrier_wait(run.barrier)
    stop = fg_seen(&run.watch.stop)
    fg_barrier_wait(run.barrier)  # nobody looks again before all have seen
    return stop


cdef inline fg_span some_rows(const Run *run) noexcept nogil:
    """The rows before the first, for `next_rows`."""
    cdef fg_span span
    span.batch, span.first, span.count = run.B, 0, 0
    span.index, span.backward = NULL, False
    return span


cdef inline idx count_rows(const Instruction *ins, const Run *run) noexcept nogil:
    """Rows of the output in this block."""
    return run.B * (run.T if run.values[ins.output].time else 1)


cdef inline bint next_rows(const Instruction *ins, Run *run, idx count, fg_span *span) noexcept nogil:
    """Move on to the next rows of `count`: as many as may run before signals are looked at. False at the end."""
    span.first += span.count
    if span.first >= count or (span.first > 0 and stopped(run)):
        return False
    span.count = min(ins.slice if run.watch != NULL else count, count - span.first)
    return True


cdef inline bint valid(const Run *run, int clock, const fg_rows *own, idx t, idx b) noexcept nogil:
    """True if step t of row b counts, by the caller's mask and the graph's."""
    if run.mask != NULL and not run.mask[(run.done[clock] + t) * run.mask_t + b * run.mask_b]:
        return False
    return own == NULL or (<uint8_t *>row(own, 1, t, b))[0] != 0


cdef void multiply_even(const fg_matrix *w, const char *a, idx a_stride, char *c, idx c_stride, idx M, idx N,
                        Run *run) noexcept nogil:
    """c += a w' by BLAS for M evenly spaced rows; one by one where they overlap or repeat, which BLAS does not take."""
    cdef idx m, some, item = run.kernels.item, most = slice_rows(N * w.inner)
    cdef int K = <int>w.inner
    if a_stride >= K and c_stride >= N and max(a_stride, c_stride) <= INT32_MAX:
        m = 0
        while m < M and (m == 0 or not stopped(run)):
            some = min(most, M - m)
            run.gemm(<int>some, <int>N, K, a + m * a_stride * item, <int>a_stride, w.data, K,
                     c + m * c_stride * item, <int>c_stride)
            m += some
        return
    for m in range(M):
        if m % most == most - 1 and stopped(run):
            return
        run.gemm(1, <int>N, K, a + m * a_stride * item, K, w.data, K, c + m * c_stride * item, <int>N)


cdef void multiply_rows(const fg_matrix *w, const fg_rows *a, const fg_rows *c, idx N, idx T, Run *run) noexcept nogil:
    """c += a w' by BLAS: one product where the rows are evenly spaced, else one a batch row."""
    cdef idx b, item = run.kernels.item
    if T == 1:
        multiply_even(w, <char *>a.data, a.b_stride, <char *>c.data, c.b_stride, run.B, N, run)
    elif a.t_stride == run.B * a.b_stride and c.t_stride == run.B * c.b_stride:
        multiply_even(w, <char *>a.data, a.b_stride, <char *>c.data, c.b_stride, T * run.B, N, run)
    else:
        for b in range(run.B):
            multiply_even(w, row(a, item, 0, b), a.t_stride, row(c, item, 0, b), c.t_stride, T, N, run)


cdef inline void product(const fg_matrix *w, const void *bias, const fg_act *act, const fg_rows *a, const fg_rows *c,
                         idx columns, const fg_span *span, Run *run) noexcept nogil:
    """c = act(a w' + bias) by the kernel of the matrix' format."""
    if w.format <= FG_FLOAT16:
        run.kernels.product(w, bias, act, a, c, columns, span)
    else:
        run.narrow.product(w, bias, act, a, c, columns, span, run.scratch)


cdef struct Slice:
    fg_matrix matrix   # the panels of one thread
    idx column, unit   # where they begin, in (panels, G, L) and in units


cdef idx panel_bytes(const fg_matrix *w, const Run *run) noexcept nogil:
    cdef idx width = w.gates * run.kernels.lanes
    if w.format == FG_FLOAT16:
        return w.inner * width * 2
    if w.format == FG_BFLOAT16:
        return (w.inner + 1) // 2 * width * 4
    if w.format == FG_INT8:
        return (w.inner + 3) // 4 * width * 4
    return w.inner * width * run.kernels.item


cdef Slice slice_of(const fg_matrix *w, const Run *run) noexcept nogil:
    """The panels of this thread; a sparse matrix, whose strips are not in panels, is the first thread's."""
    cdef Slice s
    cdef bint whole = w.format == FG_SPARSE or w.format == FG_SPARSE_INT8
    cdef idx begin = 0 if whole else w.panels * run.part // run.parts
    cdef idx end = w.panels * (run.part == 0) if whole else w.panels * (run.part + 1) // run.parts
    s.matrix = w[0]
    s.matrix.panels = end - begin
    s.unit = begin * run.kernels.lanes
    s.column = s.unit * w.gates
    s.matrix.data = <const char *>w.data + begin * panel_bytes(w, run)
    if w.format == FG_INT8:
        s.matrix.scale += s.column
        s.matrix.offset += s.column
    return s


cdef inline const void *shifted(const void *p, idx bytes) noexcept nogil:
    if p == NULL:
        return NULL
    return <const char *>p + bytes


cdef void shift_step(fg_step *s, const Slice *part, idx item) noexcept nogil:
    """The buffers of a step from this thread's first unit on; the operand stays whole. For a batch of one row."""
    s.x = <void *>shifted(s.x, part.column * item)
    s.h = shifted(s.h, part.unit * item)
    s.h_new = <void *>shifted(s.h_new, part.unit * item)
    s.c = <void *>shifted(s.c, part.unit * item)
    s.s0 = <void *>shifted(s.s0, part.unit * item)
    s.s1 = <void *>shifted(s.s1, part.unit * item)
    s.y = <void *>shifted(s.y, part.unit * item)


cdef void input_product(const Instruction *ins, Run *run, int p, const fg_span *rows, idx N) noexcept nogil:
    """x part of phase p for the whole block: W x + biases."""
    cdef fg_act linear
    cdef fg_rows c
    cdef fg_span span = rows[0]
    cdef idx m, width = N * run.kernels.item
    cdef char *x = run.recurrences[ins.state].x[p]
    linear.kind = 0
    c.data = x
    c.t_stride = run.B * N
    c.b_stride = N
    cdef Slice part
    if run.parts > 1:  # this thread's panels read no others' input parts
        part = slice_of(&ins.wx[p], run)
        c.data = x + part.column * run.kernels.item
        if part.matrix.panels > 0:
            product(&part.matrix, shifted(ins.bx[p], part.column * run.kernels.item), &linear, &run.rows[ins.inputs[0]],
                    &c, part.matrix.panels * part.matrix.gates * run.kernels.lanes, rows, run)
        return
    if run.gemm == NULL:
        span.count = 0
        while next_rows(ins, run, rows.count, &span):
            product(&ins.wx[p], ins.bx[p], &linear, &run.rows[ins.inputs[0]], &c, N, &span, run)
        return
    for m in range(run.T * run.B):
        memcpy(x + m * width, ins.bx[p], width)
    multiply_rows(&ins.wx[p], &run.rows[ins.inputs[0]], &c, N, run.T, run)


cdef void input_lookup(const Instruction *ins, Run *run, int p, const fg_span *span) noexcept nogil:
    """x part of phase p for the whole block where the input is ids: rows of a table of products."""
    cdef idx i, m, item = run.kernels.item, N = ins.phase[p].u.panels * ins.phase[p].u.gates * run.kernels.lanes
    cdef idx column = 0, width = N
    cdef int64_t key
    cdef Slice part
    if run.parts > 1:
        part = slice_of(&ins.phase[p].u, run)
        column, width = part.column, part.matrix.panels * part.matrix.gates * run.kernels.lanes
    for i in range(span.count):
        m = i if span.index == NULL else span.index[i]
        key = (<int64_t *>row(&run.rows[ins.inputs[0]], 8, m // run.B, m % run.B))[0]
        memcpy(run.recurrences[ins.state].x[p] + (m * N + column) * item,
               <const char *>ins.table[p] + (key * N + column) * item, width * item)


cdef inline bint runs_whole(const Instruction *ins, const Run *run) noexcept nogil:
    """Whether all steps of this block are one call of the kernel."""
    return (run.T > 0 and ins.n_phases == 1 and run.mask == NULL and ins.n_inputs != 2 and not ins.gated_output
            and run.parts == 1 and run.gemm == NULL and ins.phase[0].u.format <= FG_FLOAT16 and run.B <= ins.slice)


cdef inline bint makes_input(const Instruction *ins, const Run *run, int p) noexcept nogil:
    """Whether a step of one row is to make its input part with its recurrent one, panel by panel.

    In a sequence, where a product of all steps reads its weights once, only that of single samples: 100 steps of 32
    units, 2 us of 22.
    """
    return (run.B == 1 and run.gemm == NULL and ins.wx[p].data != NULL and ins.table[p] == NULL
            and ins.wx[p].format <= FG_FLOAT16 and ins.phase[p].u.format <= FG_FLOAT16
            and (run.T == 1 or (ins.wx[p].inner == 1 and runs_whole(ins, run))))


cdef void run_steps(const Instruction *ins, Run *run, const fg_phase *phase, fg_step *s) noexcept nogil:
    """One step or several in one call of the kernel; in several calls where that may take long."""
    cdef fg_span rows = s.rows
    cdef fg_step some
    cdef idx count = s.count, most = max(1, ins.slice // max(1, rows.count))
    if rows.count * count <= ins.slice or run.watch == NULL:
        run.kernels.steps(phase, s)
    elif count > 1:  # the kernel moves everything on but the place of the outputs
        while count > 0 and not stopped(run):
            s.count = min(most, count)
            run.kernels.steps(phase, s)
            count -= s.count
            if s.out.data != NULL:
                s.out.data = <char *>s.out.data + s.count * s.out.t_stride * run.kernels.item
    else:
        while s.rows.first < rows.first + rows.count and not stopped(run):
            s.rows.count = min(ins.slice, rows.first + rows.count - s.rows.first)
            some = s[0]
            run.kernels.steps(phase, &some)
            s.rows.first += s.rows.count
        s.rows = rows


cdef void run_phase(const Instruction *ins, Run *run, int p, fg_step *s, idx t) noexcept nogil:
    """One phase of step t for the rows of `s`."""
    cdef const fg_phase *phase = &ins.phase[p]
    cdef Recurrence *r = &run.recurrences[ins.state]
    cdef idx N = phase.u.panels * phase.u.gates * run.kernels.lanes
    cdef idx item = run.kernels.item
    cdef fg_rows a, c
    cdef fg_span span = s.rows
    cdef fg_act linear
    cdef fg_phase own
    cdef Slice part, input_part
    cdef const void *bias = ins.bu[p]
    s.x = NULL if ins.wx[p].data == NULL and ins.table[p] == NULL else r.x[p] + t * run.B * N * item
    s.product, s.w = NULL, NULL
    if makes_input(ins, run, p):
        s.w = &ins.wx[p]
        s.w_bias, s.input = ins.bx[p], row(&run.rows[ins.inputs[0]], item, t, 0)
    if run.parts > 1:
        part = slice_of(&phase.u, run)
        own = phase[0]
        own.u = part.matrix
        own.bias = shifted(phase.bias, part.column * item)
        own.peephole = shifted(phase.peephole, part.unit * item)
        if s.w != NULL:
            input_part = slice_of(&ins.wx[p], run)
            s.w, s.w_bias = &input_part.matrix, shifted(s.w_bias, part.column * item)
        shift_step(s, &part, item)
        if part.matrix.panels == 0:
            return
        phase = &own
    if run.gemm == NULL and phase.u.format <= FG_FLOAT16:
        run_steps(ins, run, phase, s)
        return
    a.data = <void *>s.a
    a.b_stride = s.a_stride
    a.t_stride = run.B * s.a_stride
    c.data = run.product
    c.b_stride = N
    c.t_stride = run.B * N
    if run.gemm == NULL:
        linear.kind = 0
        if run.parts > 1:
            c.data = run.product + part.column * item
            bias = shifted(bias, part.column * item)
            N = part.matrix.panels * part.matrix.gates * run.kernels.lanes
        s.product = c.data
        while s.rows.first < span.first + span.count:  # few rows at a time: their products stay in the L1 cache
            s.rows.count = min(STEP_ROWS, span.first + span.count - s.rows.first)
            run.narrow.product(&phase.u, bias, &linear, &a, &c, N, &s.rows, run.scratch)
            run.kernels.gates(phase, s)
            s.rows.first += s.rows.count
            if s.rows.first // ins.slice != (s.rows.first - s.rows.count) // ins.slice and stopped(run):
                break
        s.rows = span
        return
    memset(run.product, 0, run.B * N * item)
    multiply_rows(&phase.u, &a, &c, N, 1, run)
    s.product = run.product
    run.kernels.gates(phase, s)


cdef inline fg_step first_phase(const Instruction *ins, const Recurrence *r, fg_span span) noexcept nogil:
    """The buffers of one step from the current state."""
    cdef fg_step s
    s.rows = span
    s.rows.backward = r.now  # every other step
    s.h, s.h_new, s.c, s.s0, s.s1 = r.h[r.now], r.h[1 - r.now], r.c, r.s0, r.s1
    s.y = r.y if ins.gated_output else NULL
    s.stride = ins.units_padded
    s.a, s.a_stride = s.h, ins.features_padded
    s.count, s.x_stride, s.input_stride, s.out.data, s.width = 1, 0, 0, NULL, 0
    if ins.n_phases == 2 and ins.phase[1].kind == FG_PROJECT:
        s.h_new = r.s0
    return s


cdef void step_cell(const Instruction *ins, Run *run, idx t, fg_span span) noexcept nogil:
    """State of step t - 1 to state of step t, for the rows of `span`; the others keep theirs."""
    cdef Recurrence *r = &run.recurrences[ins.state]
    cdef char *h = r.h[r.now]
    cdef char *h_new = r.h[1 - r.now]
    cdef idx i, j = 0, width = ins.features_padded * run.kernels.item
    cdef fg_step s
    if span.count == 0:
        return
    s = first_phase(ins, r, span)
    run_phase(ins, run, 0, &s, t)
    if run.parts > 1:
        fg_barrier_wait(run.barrier)
    if ins.n_phases == 2:
        s.h, s.c, s.s0, s.s1 = h, r.c, r.s0, r.s1
        s.y = r.y if ins.gated_output else NULL
        s.a, s.a_stride = r.s0, ins.units_padded
        s.h_new = h_new
        s.stride = ins.features_padded
        run_phase(ins, run, 1, &s, t)
        if run.parts > 1:
            fg_barrier_wait(run.barrier)
    if span.count < run.B:
        for i in range(run.B):
            if j < span.count and span.index[j] == i:
                j += 1
            else:
                memcpy(h_new + i * width, h + i * width, width)
    r.now = 1 - r.now


cdef void write_outputs(const Instruction *ins, Run *run, idx t, fg_span span, bint masked) noexcept nogil:
    """Copy the outputs of step t to where the value wants them; what a masked row gets is the layer's choice."""
    cdef Recurrence *r = &run.recurrences[ins.state]
    cdef char *y = r.y if ins.gated_output else r.h[r.now]
    cdef idx b, j = 0, item = run.kernels.item
    cdef idx width = ins.features * item, stride = ins.features_padded * item
    cdef const fg_rows *out = &run.rows[ins.output]
    cdef bint active
    for b in range(run.B):
        if b % LOOK_ROWS == LOOK_ROWS - 1 and run.parts == 1 and stopped(run):
            return  # the first step writes to every row of a new array, each in pages that the system has yet to clear
        active = not masked or (j < span.count and span.index[j] == b)
        if active:
            j += 1
            if masked or ins.last:
                memcpy(r.last + b * width, y + b * stride, width)
            if not ins.last:
                memcpy(row(out, item, t, b), y + b * stride, width)
        elif not ins.last:
            if ins.carry:
                memcpy(row(out, item, t, b), r.last + b * width, width)
            else:
                memset(row(out, item, t, b), 0, width)


cdef void step_whole(const Instruction *ins, Run *run, fg_span span) noexcept nogil:
    """All steps of the block, and their outputs, in one call."""
    cdef Recurrence *r = &run.recurrences[ins.state]
    cdef idx N = ins.phase[0].u.panels * ins.phase[0].u.gates * run.kernels.lanes
    cdef idx first = run.T - 1 if ins.reverse else 0, direction = -1 if ins.reverse else 1
    cdef fg_step s = first_phase(ins, r, span)
    s.count, s.x_stride, s.input_stride = run.T, direction * run.B * N, direction * run.rows[ins.inputs[0]].t_stride
    if not ins.last:
        s.out, s.width = run.rows[ins.output], ins.features
        s.out.data = <char *>s.out.data + first * s.out.t_stride * run.kernels.item
        s.out.t_stride *= direction
    run_phase(ins, run, 0, &s, first)
    r.now ^= run.T & 1


cdef void execute_recurrent(const Instruction *ins, Run *run) noexcept nogil:
    cdef Recurrence *r = &run.recurrences[ins.state]
    cdef const fg_rows *own = &run.rows[ins.inputs[1]] if ins.n_inputs == 2 else NULL
    cdef bint masked = run.mask != NULL or own != NULL
    cdef fg_span span, step
    cdef idx i, t, b, item = run.kernels.item
    cdef int p
    cdef bint whole = runs_whole(ins, run)
    span.batch, span.first, span.count, span.index, span.backward = run.B, 0, run.T * run.B, NULL, r.now
    step.batch, step.first, step.count, step.index = run.B, 0, run.B, NULL
    if masked:
        span.count, span.index, step.index = 0, run.index, run.active
        for t in range(run.T):
            for b in range(run.B):
                if valid(run, ins.clock, own, t, b):
                    run.index[span.count] = <int32_t>(t * run.B + b)
                    span.count += 1
    for p in range(ins.n_phases):
        if ins.table[p] != NULL:
            input_lookup(ins, run, p, &span)
        elif ins.wx[p].data != NULL and not makes_input(ins, run, p):
            input_product(ins, run, p, &span, ins.wx[p].panels * ins.wx[p].gates * run.kernels.lanes)
    if whole:
        step_whole(ins, run, step)
        if ins.last:
            write_outputs(ins, run, run.T - 1, step, masked)
    for i in range(0 if whole else run.T):
        t = run.T - 1 - i if ins.reverse else i
        if masked:
            step.count = 0
            for b in range(run.B):
                if valid(run, ins.clock, own, t, b):
                    run.active[step.count] = <int32_t>b
                    step.count += 1
        if i % LOOK_STEPS == LOOK_STEPS - 1 and stopped_together(run):
            return
        step_cell(ins, run, t, step)
        if run.part == 0 and (not ins.last or masked or i == run.T - 1):
            write_outputs(ins, run, t, step, masked)
        if run.parts > 1 and ins.gated_output:
            fg_barrier_wait(run.barrier)  # y has one buffer: the next step must not write it yet
    if ins.last and run.final and run.part == 0:
        for b in range(run.B):
            memcpy(row(&run.rows[ins.output], item, 0, b), r.last + b * ins.features * item, ins.features * item)


cdef void execute_dense(const Instruction *ins, Run *run) noexcept nogil:
    cdef fg_span span = some_rows(run)
    cdef const fg_rows *x = &run.rows[ins.inputs[0]]
    cdef const fg_rows *y = &run.rows[ins.output]
    cdef idx m, count = count_rows(ins, run)
    if run.gemm != NULL:
        for m in range(count):
            memset(row(y, run.kernels.item, m // run.B, m % run.B), 0, ins.size * run.kernels.item)
        multiply_rows(&ins.w, x, y, ins.size, count // run.B, run)
    while next_rows(ins, run, count, &span):
        if run.gemm == NULL:
            product(&ins.w, ins.shift, &ins.act, x, y, ins.size, &span, run)
        else:
            run.kernels.activate(&ins.act, ins.shift, y, y, ins.size, &span)
        if ins.softmax:
            run.kernels.softmax(y, y, ins.size, &span)


cdef void execute_embedding(const Instruction *ins, Run *run) noexcept nogil:
    """Ids were checked against V before the call."""
    cdef idx m, item = run.kernels.item
    cdef int64_t key
    cdef char *y
    for m in range(count_rows(ins, run)):
        if m % LOOK_COPIES == LOOK_COPIES - 1 and stopped(run):
            return
        key = (<int64_t *>row(&run.rows[ins.inputs[0]], 8, m // run.B, m % run.B))[0]
        y = row(&run.rows[ins.output], item, m // run.B, m % run.B)
        if ins.w.format == FG_NATIVE:
            memcpy(y, <char *>ins.w.data + key * ins.size * item, ins.size * item)
        else:
            run.narrow.lookup(&ins.w, key, y)


cdef void execute_layer_norm(const Instruction *ins, Run *run) noexcept nogil:
    cdef fg_span span = some_rows(run)
    while next_rows(ins, run, count_rows(ins, run), &span):
        run.kernels.layer_norm(ins.scale, ins.shift, ins.number, &run.rows[ins.inputs[0]], &run.rows[ins.output],
                               ins.size, &span)


cdef void execute_affine(const Instruction *ins, Run *run) noexcept nogil:
    cdef fg_span span = some_rows(run)
    while next_rows(ins, run, count_rows(ins, run), &span):
        run.kernels.affine(ins.scale, ins.shift, &run.rows[ins.inputs[0]], &run.rows[ins.output], ins.size, &span)


cdef void execute_activate(const Instruction *ins, Run *run) noexcept nogil:
    cdef fg_span span = some_rows(run)
    while next_rows(ins, run, count_rows(ins, run), &span):
        if ins.softmax:
            run.kernels.softmax(&run.rows[ins.inputs[0]], &run.rows[ins.output], ins.size, &span)
        else:
            run.kernels.activate(&ins.act, NULL, &run.rows[ins.inputs[0]], &run.rows[ins.output], ins.size, &span)


cdef void execute_mask(const Instruction *ins, Run *run) noexcept nogil:
    cdef idx m, j, item = run.values[ins.inputs[0]].item
    cdef char *x
    cdef uint8_t different
    cdef bint ids = run.values[ins.inputs[0]].size == 0
    for m in range(run.T * run.B):
        x = row(&run.rows[ins.inputs[0]], item, m // run.B, m % run.B)
        different = 0
        if ids:
            different = (<int64_t *>x)[0] != ins.number
        elif item == 4:
            for j in range(ins.size):
                different |= (<float *>x)[j] != <float>ins.number
        else:
            for j in range(ins.size):
                different |= (<double *>x)[j] != ins.number
        (<uint8_t *>row(&run.rows[ins.output], 1, m // run.B, m % run.B))[0] = different


cdef void execute_apply_mask(const Instruction *ins, Run *run) noexcept nogil:
    cdef idx m, width = ins.size * run.kernels.item
    cdef char *y
    for m in range(run.T * run.B):
        y = row(&run.rows[ins.output], run.kernels.item, m // run.B, m % run.B)
        if (<uint8_t *>row(&run.rows[ins.inputs[1]], 1, m // run.B, m % run.B))[0]:
            memcpy(y, row(&run.rows[ins.inputs[0]], run.kernels.item, m // run.B, m % run.B), width)
        else:
            memset(y, 0, width)


cdef void execute_reverse(const Instruction *ins, Run *run) noexcept nogil:
    cdef idx t, b, item = run.kernels.item
    for t in range(run.T):
        if t % LOOK_STEPS == LOOK_STEPS - 1 and stopped(run):
            return
        for b in range(run.B):
            memcpy(row(&run.rows[ins.output], item, t, b), row(&run.rows[ins.inputs[0]], item, run.T - 1 - t, b),
                   ins.size * item)


cdef void execute_concat(const Instruction *ins, Run *run) noexcept nogil:
    cdef idx m, at, item = run.kernels.item
    cdef int i
    for m in range(count_rows(ins, run)):
        if m % LOOK_COPIES == LOOK_COPIES - 1 and stopped(run):
            return
        at = 0
        for i in range(ins.n_inputs):
            memcpy(row(&run.rows[ins.output], item, m // run.B, m % run.B) + at,
                   row(&run.rows[ins.inputs[i]], item, m // run.B, m % run.B),
                   run.values[ins.inputs[i]].size * item)
            at += run.values[ins.inputs[i]].size * item


cdef void execute_merge(const Instruction *ins, Run *run) noexcept nogil:
    """Add, multiply or average: the first input copied, then the others onto it, in order."""
    cdef fg_span span = some_rows(run)
    cdef fg_act act
    cdef const fg_rows *y = &run.rows[ins.output]
    cdef int i
    act.kind = 0
    while next_rows(ins, run, count_rows(ins, run), &span):
        run.kernels.activate(&act, NULL, &run.rows[ins.inputs[0]], y, ins.size, &span)
        for i in range(1, ins.n_inputs):
            if ins.op == MULTIPLY:
                run.kernels.multiply(&run.rows[ins.inputs[i]], y, ins.size, &span)
            else:
                run.kernels.add(&run.rows[ins.inputs[i]], y, ins.size, &span)
        if ins.op == AVERAGE:
            run.kernels.activate(&ins.act, NULL, y, y, ins.size, &span)


include "_frames.pxi"

cdef execute_t[24] EXECUTE
EXECUTE[:] = [
    execute_recurrent, execute_dense, execute_embedding, execute_layer_norm, execute_affine, execute_activate,
    execute_mask, execute_apply_mask, execute_reverse, execute_concat, execute_merge, execute_merge, execute_merge,
    execute_frame, execute_store, execute_rows, execute_rows, execute_scan,
    execute_window, execute_overlap_add, execute_mirror, execute_wait,
    execute_convert, execute_top_k,
]
