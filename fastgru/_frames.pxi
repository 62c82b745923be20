# Ops over frames of any rank: loop nests over strided operands, products over windows, recurrences inside a frame.

cdef enum:
    CONSTANT = -1
    ABSENT = -2

cdef enum:
    MAP = 0
    REDUCE = 1
    CONTRACT = 2
    ARG_REDUCE = 3
    GATHER = 4
    SOFTMAX = 5
    LAYER_NORM_ROWS = 6


cdef inline idx step_stride(const Run *run, int value) noexcept nogil:
    """Elements from one step of a value to the next; none where it is the same for all."""
    return run.rows[value].t_stride if run.values[value].time else 0


cdef inline char *operand(const Operand *o, const Run *run, idx t, idx b) noexcept nogil:
    """Where the frame of step t and row b begins."""
    if o.value < 0:
        return <char *>o.data
    return (<char *>run.rows[o.value].data
            + (t * step_stride(run, o.value) + b * run.rows[o.value].b_stride + o.offset) * run.kernels.item)


cdef void run_kernel(const Instruction *ins, Run *run, const fg_nest *nest, void **operands) noexcept nogil:
    cdef const Frame *frame = ins.frame
    if frame.kernel == MAP:
        run.kernels.map(nest, frame.program, frame.n_program, operands)
    elif frame.kernel == REDUCE:
        run.kernels.reduce(nest, frame.function, operands)
    elif frame.kernel == CONTRACT:
        run.kernels.contract(nest, &ins.act, operands)
    elif frame.kernel == ARG_REDUCE:
        run.kernels.arg_reduce(nest, frame.function, frame.last, operands)
    elif run.kernels.gather(nest, frame.count, frame.stride, operands):
        run.bad_id = ins.output + 1


cdef void run_nest(const Instruction *ins, Run *run, idx t, idx T, idx b, idx B) noexcept nogil:
    """Steps t .. t + T - 1 and rows b .. b + B - 1 as two more loops around the op's own."""
    cdef const Frame *frame = ins.frame
    cdef fg_nest nest
    cdef void *operands[8]
    cdef int i, j, v
    for i in range(frame.nest.operands):
        operands[i] = operand(&frame.operands[i], run, t, b)
    if T == 1 and B == 1:
        run_kernel(ins, run, &frame.nest, operands)
        return
    nest.rank, nest.outer, nest.operands = frame.nest.rank + 2, frame.nest.outer + 2, frame.nest.operands
    nest.steps_and_rows = 2
    nest.dims[0], nest.dims[1] = T, B
    for j in range(frame.nest.rank):
        nest.dims[j + 2] = frame.nest.dims[j]
    for i in range(nest.operands):
        v = frame.operands[i].value
        nest.strides[i][0] = 0 if v < 0 else step_stride(run, v)
        nest.strides[i][1] = 0 if v < 0 else run.rows[v].b_stride
        for j in range(frame.nest.rank):
            nest.strides[i][j + 2] = frame.nest.strides[i][j]
    run_kernel(ins, run, &nest, operands)


cdef void run_over_time(const Instruction *ins, Run *run) noexcept nogil:
    """The nest folded over all steps, for each row."""
    cdef const Frame *frame = ins.frame
    cdef fg_nest nest = frame.nest
    cdef void *operands[8]
    cdef idx b
    cdef int i
    nest.dims[nest.rank] = run.T
    for i in range(nest.operands):
        nest.strides[i][nest.rank] = 0 if frame.operands[i].value < 0 else step_stride(run, frame.operands[i].value)
    nest.rank += 1
    for b in range(run.B):
        for i in range(nest.operands):
            operands[i] = operand(&frame.operands[i], run, 0, b)
        run_kernel(ins, run, &nest, operands)
        if run.T > ins.slice and stopped(run):
            return


cdef void execute_frame(const Instruction *ins, Run *run) noexcept nogil:
    cdef idx T = run.T if run.values[ins.output].time else 1, t, b, steps, rows
    if ins.frame.over_time:
        run_over_time(ins, run)
        return
    steps, rows = T, run.B
    if run.watch != NULL:
        steps, rows = max(1, ins.slice // run.B), min(run.B, ins.slice)
    t = 0
    while t < T:
        b = 0
        while b < run.B:
            if t + b > 0 and stopped(run):
                return
            run_nest(ins, run, t, min(steps, T - t), b, min(rows, run.B - b))
            b += rows
        t += steps


cdef void execute_store(const Instruction *ins, Run *run) noexcept nogil:
    """A step's result into the state's buffer; a row whose step does not count keeps its state."""
    cdef idx b
    if run.mask == NULL:
        run_nest(ins, run, 0, 1, 0, run.B)
        return
    for b in range(run.B):
        if valid(run, ins.clock, NULL, 0, b):
            run_nest(ins, run, 0, 1, b, 1)


cdef void rows_of(const Instruction *ins, Run *run, idx t, idx b, fg_rows *x, fg_rows *y) noexcept nogil:
    """The rows inside the frames of step t and row b that an op over rows reads and writes."""
    cdef const Frame *frame = ins.frame
    cdef idx item = run.kernels.item
    cdef int v = ins.inputs[0]
    x.data = (<char *>run.rows[v].data
              + (t * step_stride(run, v) + b * run.rows[v].b_stride + frame.read_offset) * item)
    x.t_stride, x.b_stride = frame.read[0], frame.read[1]
    v = ins.output
    y.data = (<char *>run.rows[v].data
              + (t * step_stride(run, v) + b * run.rows[v].b_stride + frame.write_offset) * item)
    y.t_stride, y.b_stride = frame.write[0], frame.write[1]


cdef void run_rows(const Instruction *ins, Run *run, fg_rows *x, fg_rows *y, idx batch, idx count) noexcept nogil:
    """The op of an instruction over such rows."""
    cdef const Frame *frame = ins.frame
    cdef idx m, j, item = run.kernels.item
    cdef fg_span span = some_rows(run)
    span.batch = batch
    if ins.op == FRAME_PRODUCT and run.gemm != NULL:
        for m in range(count // batch):
            for j in range(batch):
                memset(row(y, item, m, j), 0, ins.size * item)
            multiply_even(&ins.w, row(x, item, m, 0), x.b_stride, row(y, item, m, 0), y.b_stride, batch, ins.size, run)
    while next_rows(ins, run, count, &span):
        if ins.op == FRAME_PRODUCT and run.gemm == NULL:
            product(&ins.w, ins.shift, &ins.act, x, y, ins.size, &span, run)
        elif ins.op == FRAME_PRODUCT:
            run.kernels.activate(&ins.act, ins.shift, y, y, ins.size, &span)
        elif frame.kernel == SOFTMAX:
            run.kernels.softmax(x, y, ins.size, &span)
        else:
            run.kernels.layer_norm(ins.scale, ins.shift, ins.number, x, y, ins.size, &span)


cdef void execute_rows(const Instruction *ins, Run *run) noexcept nogil:
    """Rows of one loop inside the frames of one row of the batch are one call over all steps."""
    cdef const Frame *frame = ins.frame
    cdef idx t, b, T = run.T if run.values[ins.output].time else 1
    cdef idx count = frame.dims[0] * frame.dims[1]
    cdef fg_rows x, y
    cdef bint joined = frame.dims[0] == 1
    for b in range(run.B):
        for t in range(1 if joined else T):
            rows_of(ins, run, t, b, &x, &y)
            if joined:
                x.t_stride, y.t_stride = step_stride(run, ins.inputs[0]), step_stride(run, ins.output)
                count = T * frame.dims[1]
            run_rows(ins, run, &x, &y, frame.dims[1], count)
            if count > ins.slice and stopped(run):
                return


cdef void execute_scan(const Instruction *ins, Run *run) noexcept nogil:
    """A recurrent layer over the sequence inside each frame."""
    cdef const Frame *frame = ins.frame
    cdef const Instruction *layer = frame.layer
    cdef Recurrence *r = &run.recurrences[layer.state]
    cdef fg_rows[3] rows
    cdef Run inner = run[0]
    cdef idx t, b, n, s, item = run.kernels.item
    cdef const char *lengths
    inner.rows, inner.T, inner.B, inner.mask, inner.final = rows, frame.steps, frame.rows, NULL, True
    inner.part, inner.parts = 0, 1
    rows[2].data, rows[2].t_stride, rows[2].b_stride = run.scan_mask, frame.rows, 1
    for t in range(run.T if run.values[ins.output].time else 1):
        for b in range(run.B):
            rows_of(ins, run, t, b, &rows[0], &rows[1])
            for n in range(frame.rows):
                begin_row(r.h[r.now] + n * layer.features_padded * item, &frame.operands[0], layer.initial_h, n,
                          layer.features, run, t, b)
                begin_row(r.c + n * layer.units_padded * item, &frame.operands[1], layer.initial_c, n, layer.units,
                          run, t, b)
            if frame.operands[2].value != ABSENT:
                lengths = operand(&frame.operands[2], run, t, b)
                for n in range(frame.rows):
                    for s in range(frame.steps):
                        run.scan_mask[s * frame.rows + n] = s < (
                            (<float *>lengths)[n] if item == 4 else (<double *>lengths)[n])
            execute_recurrent(layer, &inner)
            if stopped(run):
                return
            for n in range(frame.rows):
                memcpy(row(&run.rows[frame.outputs[0]], item, t * run.values[frame.outputs[0]].time, b)
                       + n * layer.features * item, r.h[r.now] + n * layer.features_padded * item,
                       layer.features * item)
                if frame.outputs[1] >= 0:
                    memcpy(row(&run.rows[frame.outputs[1]], item, t * run.values[frame.outputs[1]].time, b)
                           + n * layer.units * item, r.c + n * layer.units_padded * item, layer.units * item)


cdef inline void begin_row(char *to, const Operand *given, const void *initial, idx n, idx size, Run *run, idx t,
                           idx b) noexcept nogil:
    """One row's initial state: the operand's, else the layer's own, else zeros."""
    cdef idx item = run.kernels.item
    if given.value != ABSENT:
        memcpy(to, operand(given, run, t, b) + n * size * item, size * item)
    elif initial != NULL:
        memcpy(to, initial, size * item)
    else:
        memset(to, 0, size * item)


cdef void execute_convert(const Instruction *ins, Run *run) noexcept nogil:
    """Ids and masks of whole rows to floats, and floats to masks."""
    cdef idx t, b, source = run.values[ins.inputs[0]].item, to = run.values[ins.output].item
    cdef char *x
    cdef char *y
    cdef double number
    for t in range(run.T if run.values[ins.output].time else 1):
        for b in range(run.B):
            x = row(&run.rows[ins.inputs[0]], source, t * run.values[ins.inputs[0]].time, b)
            y = row(&run.rows[ins.output], to, t * run.values[ins.output].time, b)
            if source == 1:
                number = (<uint8_t *>x)[0]
            elif run.kernels.item == 4 and source == 4:
                number = (<float *>x)[0]
            elif run.values[ins.inputs[0]].size == 0:
                number = <double>(<int64_t *>x)[0]
            else:
                number = (<double *>x)[0]
            if to == 1:
                (<uint8_t *>y)[0] = number != 0
            elif to == 4:
                (<float *>y)[0] = <float>number
            else:
                (<double *>y)[0] = number


cdef inline double number_of(const char *x, idx i, idx item) noexcept nogil:
    return (<const float *>x)[i] if item == 4 else (<const double *>x)[i]


cdef inline void set_number(char *x, idx i, idx item, double number) noexcept nogil:
    if item == 4:
        (<float *>x)[i] = <float>number
    else:
        (<double *>x)[i] = number


cdef void top_of_row(const char *x, char *values, char *places, const Instruction *ins, idx item) noexcept nogil:
    """The extremes of one row by insertion: of equal elements the first stays in front; NaN are the largest."""
    cdef idx i, at, found = 0, k = ins.frame.count
    cdef bint smallest = ins.frame.function
    cdef double a, b
    for i in range(ins.size):
        a = number_of(x, i, item)
        at = found
        while at > 0:
            b = number_of(values, at - 1, item)
            if not (a < b or (a == a and b != b) if smallest else a > b or (a != a and b == b)):
                break
            if at < k:
                set_number(values, at, item, b)
                set_number(places, at, item, number_of(places, at - 1, item))
            at -= 1
        if at < k:
            set_number(values, at, item, a)
            set_number(places, at, item, i)
            found = min(k, found + 1)


cdef void execute_top_k(const Instruction *ins, Run *run) noexcept nogil:
    """The extremes of each row of a loop inside the frame, and where they are."""
    cdef const Frame *frame = ins.frame
    cdef idx t, b, n, item = run.kernels.item, timed = run.values[ins.output].time
    cdef const fg_rows *x = &run.rows[ins.inputs[0]]
    cdef idx step = step_stride(run, ins.inputs[0])
    for t in range(run.T if timed else 1):
        for b in range(run.B):
            if stopped(run):
                return
            for n in range(frame.dims[1]):
                top_of_row(
                    <char *>x.data + (t * step + b * x.b_stride + frame.read_offset + n * frame.read[1]) * item,
                    row(&run.rows[ins.output], item, t * timed, b) + n * frame.count * item,
                    row(&run.rows[frame.outputs[0]], item, t * timed, b) + n * frame.count * item, ins, item)


# Time ------------------------------------------------------------------------------------------------

cdef inline idx windows_due(const Frame *frame, idx held) noexcept nogil:
    """How many windows so many steps fill."""
    return (held - frame.reach) // frame.stride_in_time + 1 if held >= frame.reach else 0


cdef inline idx held_before(const Window *w) noexcept nogil:
    """Steps in the line once those that no window needs are gone; negative: steps still to be skipped."""
    return w.held - w.drop


cdef void fill_steps(const Instruction *ins, const Run *run, char *to, idx steps) noexcept nogil:
    """Steps outside of the sequence."""
    cdef idx i
    for i in range(steps * ins.size):
        if run.kernels.item == 4:
            (<float *>to)[i] = <float>ins.frame.fill
        else:
            (<double *>to)[i] = ins.frame.fill


cdef void execute_window(const Instruction *ins, Run *run) noexcept nogil:
    """Take in the steps of this block and show the windows that are due, as overlapping rows."""
    cdef const Frame *frame = ins.frame
    cdef Window *w = &run.windows[frame.window]
    cdef idx b, t, item = run.kernels.item, width = ins.size * run.kernels.item
    cdef idx kept = max(0, held_before(w)), skip = max(0, -held_before(w)), taken = max(0, run.T - skip)
    cdef idx extra = max(0, frame.after - max(0, skip - run.T)) if run.flush else 0
    cdef char *line
    for b in range(run.B):
        line = w.line + b * w.capacity * width
        if w.drop > 0 and kept > 0:
            memmove(line, line + w.drop * width, kept * width)
        for t in range(taken):
            memcpy(line + (kept + t) * width, row(&run.rows[ins.inputs[0]], item, run.T - taken + t, b), width)
        fill_steps(ins, run, line + (kept + taken) * width, extra)
    w.held = kept + taken + extra
    run.steps[run.values[ins.output].clock] = windows_due(frame, w.held)
    w.drop = windows_due(frame, w.held) * frame.stride_in_time
    if skip > run.T:  # the whole block was skipped
        w.drop = w.held + skip - run.T


cdef inline idx meeting_due(const Frame *frame, const Window *windows, const idx *steps) noexcept nogil:
    """How many steps all values have that meet, of which each waits in a line of its own."""
    cdef idx least = held_before(&windows[frame.meeting[0]]) + steps[frame.meeting_clocks[0]]
    cdef int i
    for i in range(1, frame.n_meeting):
        least = min(least, held_before(&windows[frame.meeting[i]]) + steps[frame.meeting_clocks[i]])
    return least


cdef void execute_wait(const Instruction *ins, Run *run) noexcept nogil:
    """Take in the steps of this block and show as many of the oldest as the other clock counts."""
    cdef Window *w = &run.windows[ins.frame.window]
    cdef idx b, t, item = run.kernels.item, width = ins.size * run.kernels.item, kept = held_before(w)
    cdef char *line
    if ins.frame.n_meeting:
        run.steps[run.values[ins.output].clock] = meeting_due(ins.frame, run.windows, run.steps)
    for b in range(run.B):
        line = w.line + b * w.capacity * width
        if w.drop > 0 and kept > 0:
            memmove(line, line + w.drop * width, kept * width)
        for t in range(run.T):
            memcpy(line + (kept + t) * width, row(&run.rows[ins.inputs[0]], item, t, b), width)
    w.held = kept + run.T
    w.drop = run.steps[run.values[ins.output].clock]


cdef inline idx mirror_due(const Frame *frame, const Window *w, idx steps, bint ends) noexcept nogil:
    """How many steps are given for so many further ones: none until the sequence can be mirrored in front."""
    if w.held + steps < frame.reach:
        return 0
    return steps + (frame.before + w.held if w.held < frame.reach else 0) + (frame.after if ends else 0)


cdef inline const char *step_of(const Instruction *ins, const Run *run, const char *line, idx held, idx t,
                                idx b) noexcept nogil:
    """Step t of those in the line and those of this block behind them."""
    if t < held:
        return line + t * ins.size * run.kernels.item
    return row(&run.rows[ins.inputs[0]], run.kernels.item, t - held, b)


cdef void execute_mirror(const Instruction *ins, Run *run) noexcept nogil:
    """Give the steps of this block, behind their mirror image (of one step: itself) as soon as that can be made."""
    cdef const Frame *frame = ins.frame
    cdef Window *w = &run.windows[frame.window]
    cdef idx b, t, at, item = run.kernels.item, width = ins.size * item, all = w.held + run.T
    cdef idx due = mirror_due(frame, w, run.T, run.flush), kept = min(all, frame.reach)
    cdef bint begins = due > 0 and w.held < frame.reach, edge = frame.reach == 1
    cdef const fg_rows *y = &run.rows[ins.output]
    cdef char *line
    for b in range(run.B):
        line, at = w.line + b * w.capacity * width, 0
        for t in range(frame.before if begins else 0):
            memcpy(row(y, item, at, b), step_of(ins, run, line, w.held, 0 if edge else frame.before - t, b), width)
            at += 1
        for t in range(0 if begins else w.held, all if due > 0 else 0):
            memcpy(row(y, item, at, b), step_of(ins, run, line, w.held, t, b), width)
            at += 1
        for t in range(due - at):
            memcpy(row(y, item, at + t, b), step_of(ins, run, line, w.held, all - 1 - (0 if edge else t + 1), b), width)
        for t in range(kept):  # its place is never before that of the step
            memmove(line + t * width, step_of(ins, run, line, w.held, all - kept + t, b), width)
    w.held = kept
    run.steps[run.values[ins.output].clock] = due


cdef inline idx overlaps_due(const Frame *frame, const Window *w, idx frames, bint ends, bint rest) noexcept nogil:
    """How many steps so many further frames complete, and the end of the sequence, if there were any frames at all."""
    cdef idx steps = fg_times(frames, frame.stride_in_time)
    if ends and (frames > 0 or w.held or w.drop != frame.before):
        steps += frame.after + (frame.rest if rest else 0)
    return max(0, steps - w.drop)


cdef inline void add_frame(const Instruction *ins, char *to, const char *x, idx item) noexcept nogil:
    """Add one frame to the sums."""
    cdef idx i
    for i in range(ins.frame.reach * ins.size):
        if item == 4:
            (<float *>to)[i] += (<const float *>x)[i]
        else:
            (<double *>to)[i] += (<const double *>x)[i]


cdef inline char *to_beginning(char *line, char *sums, idx kept) noexcept nogil:
    """Move the sums to the beginning of their line, with zeros behind them."""
    memmove(line, sums, kept)
    memset(line + kept, 0, sums - line)
    return line


cdef void execute_overlap_add(const Instruction *ins, Run *run) noexcept nogil:
    """Add each frame to the steps not yet complete and give out the first `stride_in_time` of them."""
    cdef const Frame *frame = ins.frame
    cdef Window *w = &run.windows[frame.window]
    cdef idx b, t, i, at, item = run.kernels.item, width = ins.size * run.kernels.item, hop = frame.stride_in_time
    cdef idx due = overlaps_due(frame, w, run.T, run.flush, run.rest), end = (w.capacity - frame.kept) * width
    cdef const fg_rows *y = &run.rows[ins.output]
    cdef char *line
    cdef char *sums
    cdef char *x
    for b in range(run.B):
        line = sums = w.line + b * w.capacity * width
        at = -w.drop
        for t in range(run.T):
            if sums - line == end:
                sums = to_beginning(line, sums, frame.kept * width)
            add_frame(ins, sums + frame.lead * width, row(&run.rows[ins.inputs[0]], item, t, b), item)
            for i in range(hop):
                if at >= 0:
                    memcpy(row(y, item, at, b), sums + i * width, width)
                at += 1
            sums += hop * width
        for i in range(due - at):  # of the end of the sequence
            if at + i >= 0:
                memcpy(row(y, item, at + i, b), sums + i * width, width)
        to_beginning(line, sums, frame.kept * width)
    run.steps[run.values[ins.output].clock] = due
    w.drop = max(0, w.drop - run.T * hop)
    w.held = w.drop == 0 and (w.held or run.T > 0)
