"""Which instructions run, over which steps, on which thread.

Every element is computed by the same code in the same order on one thread as on several, so the bits are the same.
"""

from libc.stdint cimport int64_t

from .c cimport (
    FG_LINES, fg_add, fg_barrier, fg_claim, fg_isa, fg_line, fg_publish, fg_rows, fg_seen, idx)
from .codes cimport Instruction, is_line, is_nest, is_recurrent
from .run cimport fg_execute, LOOK_ELEMENTS, LOOK_STEPS, look, Run, stopped, stopped_together

ctypedef void (*work_t)(void *, int) noexcept nogil

cdef extern from "fastgru/fastgru.h" nogil:
    const fg_isa *fg_isas(int *count)

cdef extern from "fastgru/pool.h" nogil:
    int fg_pool_run(int parts, work_t fn, void *arg)
    int fg_pool_threads()
    void fg_barrier_init(fg_barrier *, int parts)
    void fg_barrier_wait(fg_barrier *)
    void fg_yield()
    void fg_sleep(int64_t ns)
    int64_t fg_now()

cdef extern from "fastgru/ops/run.h" nogil:
    const fg_execute *EXECUTE "fg_ops"
    bint make_line "fg_make_line"(const Instruction *, const Run *, int clock, fg_line *)
    void fg_fill_steps(const Instruction *, const Run *, char *to, idx steps)

cdef enum:
    PAUSE_NS = 100000  # of a thread that waits for the others, between two looks at signals


cdef const fg_isa *known = NULL  # the machine is asked once: under a hypervisor each question takes 20 us
cdef int n_known = 0


cdef const fg_isa *rows() noexcept:
    """The instruction sets of this build, `n_known` of them, best first."""
    global known
    if known == NULL:
        known = fg_isas(&n_known)
    return known


def isas():
    """The instruction sets of this build, best first: a list of (name, supported, float32 lanes, dot products)."""
    cdef const fg_isa *row = rows()
    cdef int i
    return [
        (row[i].name.decode(), bool(row[i].supported), row[i].f32.lanes, row[i].narrow.name.decode())
        for i in range(n_known)
    ]


cdef const fg_isa *find_isa(str isa) except NULL:
    cdef const fg_isa *row = rows()
    cdef int i
    for i in range(n_known):
        if row[i].name.decode() == isa:
            return &row[i]
    raise ValueError(f"isa must be one of {[found[0] for found in isas()]}, got {isa!r}")


def worker_threads():
    """Threads the package has started in this process and keeps."""
    return fg_pool_threads()


cdef int64_t now() noexcept nogil:
    """Nanoseconds of a clock that only moves forward."""
    return fg_now()


def timer_ns():
    """Nanoseconds that measuring adds to an instruction: the least time between two looks at the clock."""
    cdef int64_t least = fg_now(), begun
    for _ in range(1000):
        begun = fg_now()
        least = min(least, fg_now() - begun)
    return least


cdef void fill_line(const Instruction *ins, const Run *run, char *to, idx steps) noexcept nogil:
    """Write the steps outside of the sequence that a line begins with."""
    fg_fill_steps(ins, run, to, steps)


cdef void run_range(Run *run, int begin, int end) noexcept nogil:
    """Some instructions over the steps of this block."""
    cdef int i
    cdef const Instruction *ins
    for i in range(begin, end):
        ins = &run.instructions[i]
        if run.parts == 1 and stopped(run):
            return
        if run.mixed:
            run.T = run.steps[ins.clock]
            if run.T == 0 and not is_recurrent(ins) and not is_line(ins) and (
                    run.values[ins.output].time or (is_nest(ins) and ins.nest.over_time)):
                continue  # what has no time is made of what has none: it is there at the end, too
        if (run.final or run.mixed or run.values[ins.output].time or is_recurrent(ins)) and (
                run.part == 0 or is_recurrent(ins)):
            if run.spent == NULL:
                EXECUTE[ins.op](ins, run)
            else:
                run_measured(ins, run, i)
        if run.parts > 1:
            fg_barrier_wait(run.barrier)


cdef void run_measured(const Instruction *ins, Run *run, int i) noexcept nogil:
    """An instruction, and the time that it takes."""
    cdef int64_t begun = fg_now()
    EXECUTE[ins.op](ins, run)
    spend(run, i, begun)


cdef void spend(Run *run, int i, int64_t begun) noexcept nogil:
    """Count a call of instruction i that began then, and has ended."""
    run.spent[2 * i] += fg_now() - begun
    run.spent[2 * i + 1] += 1


cdef void run_loop(Run *run, int loop) noexcept nogil:
    """What depends on the step before: one step at a time, all values moved on by one."""
    cdef int clock = run.loop_clock[loop]
    cdef idx t, steps = run.steps[clock]
    run.steps[clock] = 1
    if steps > 1 and run.B == 1 and run.parts == 1 and run.mask == NULL:
        run_lines(run, loop, steps)
        run.steps[clock] = steps
        return
    for t in range(steps):
        run_range(run, run.loop_begin[loop], run.loop_end[loop])
        if steps > 1:
            shift(run, loop, 1)
        if t % LOOK_STEPS == LOOK_STEPS - 1 and stopped(run):
            return
    if steps > 1:
        shift(run, loop, -steps)
    run.steps[clock] = steps


cdef void run_lines(Run *run, int loop, idx steps) noexcept nogil:
    """The same for one row: its elementwise instructions are lines, of which those side by side are one call.

    Where there is nothing but lines, that call makes many steps: a step of 64 units of IndRNN, without its product,
    took 400 ns one instruction after the other, and takes 80 (Skylake at 2 GHz).
    """
    cdef fg_line[FG_LINES] lines
    cdef int[FG_LINES + 1] begins  # the instruction of each line
    cdef int i, j, n = 0, end = run.loop_end[loop], clock = run.loop_clock[loop]
    cdef idx t = 0, some = 1, elements = 0
    cdef int64_t begun
    for i in range(run.loop_begin[loop], end):
        if n < FG_LINES and make_line(&run.instructions[i], run, clock, &lines[n]):
            begins[n] = i
            elements += lines[n].size
            n += 1
    begins[n] = end
    if n == end - run.loop_begin[loop]:
        some = max(1, LOOK_ELEMENTS // max(1, elements))
    while t < steps and not stopped(run):
        some = min(some, steps - t)
        i, j = run.loop_begin[loop], 0
        while i < end:
            if i < begins[j]:
                run_range(run, i, begins[j])
                i = begins[j]
            n = 0
            while i < end and i == begins[j + n]:
                n += 1
                i += 1
            if n > 0:
                begun = 0 if run.spent == NULL else fg_now()
                run.kernels.lines(&lines[j], n, some)
                if run.spent != NULL:
                    spend(run, i - n, begun)
                j += n
        shift(run, loop, some)
        t += some
    shift(run, loop, -t)


cdef inline void shift(Run *run, int loop, idx steps) noexcept nogil:
    """Let step 0 of every value that a loop touches, and that has a place for each, be the one `steps` further on."""
    cdef int i
    cdef fg_rows *rows
    for i in range(run.loop_moved[loop], run.loop_moved[loop + 1]):
        rows = &run.rows[run.moved[i]]
        rows.data = <char *>rows.data + steps * rows.t_stride * run.values[run.moved[i]].item
    run.done[run.loop_clock[loop]] += steps


cdef void run_instructions(Run *run, idx T, idx block) noexcept nogil:
    """All instructions over block after block; buffers of the caller are read and written in place."""
    cdef idx done = 0, steps
    cdef int base, loop, at
    while done < T or (T == 0 and run.ends):
        steps = min(block, T - done)
        run.T, run.steps[0] = steps, steps
        if run.bases > 1:
            for base in range(run.bases):  # those with fewer steps than T have none left in the last blocks
                run.steps[base] = max(0, min(steps, run.due[base] - done))
        run.final = done + steps == T
        run.flush = run.final and run.ends
        at = 0
        for loop in range(run.n_loops):
            run_range(run, at, run.loop_begin[loop])
            run_loop(run, loop)
            at = run.loop_end[loop]
        run_range(run, at, run.n_instructions)
        done += steps
        if run.misfit or stopped_together(run):
            return
        if done < T:
            advance(run, steps)
            continue
        if run.clocks > run.bases:
            find_missing(run)
        return


cdef void find_missing(Run *run) noexcept nogil:
    """Note where the blocks of a call gave fewer steps than the call: of a plan that is not consistent."""
    cdef int i, clock
    cdef const Instruction *ins
    for i in range(run.n_instructions):
        ins = &run.instructions[i]
        clock = run.values[ins.output].clock
        if is_line(ins) and run.done[clock] + run.steps[clock] != run.due[clock]:
            run.misfit = ins.node + 1


cdef void advance(Run *run, idx steps) noexcept nogil:
    """Move the caller's buffers on by one block."""
    cdef int i
    cdef fg_rows *rows
    for i in range(run.n_values):
        rows = &run.rows[i]
        if run.values[i].time and run.values[i].slot < 0 and not inside(run, rows):
            rows.data = (<char *>rows.data + (run.steps[run.values[i].clock] if run.mixed else steps) * rows.t_stride
                         * run.values[i].item)
    for i in range(run.clocks):
        run.done[i] += run.steps[i]


cdef int run_together(Job *job, int parts) noexcept nogil:
    """Run a call on so many threads; an errno where they could not be started, and then nothing ran."""
    job.running = parts
    fg_barrier_init(&job.barrier, parts)
    return fg_pool_run(parts, run_part if job.tasks == NULL else run_tasks, job)


cdef void run_part(void *arg, int part) noexcept nogil:
    cdef Job *job = <Job *>arg
    run_instructions(&job.parts[part].run, job.T, job.block)
    leave(job, &job.parts[part].run)


cdef void leave(Job *job, Run *run) noexcept nogil:
    """The thread that listens looks at signals until the last one is done."""
    cdef int left = fg_add(&job.running, -1)
    while run.watch != NULL and run.listens and left > 0:
        fg_sleep(PAUSE_NS)
        look(run)
        left = fg_seen(&job.running)


# Tasks: one instruction over one block. Layers follow each other through time as a wavefront, directions run side by
# side; values between them have two buffers, for even and for odd blocks.

cdef bint ready(const Job *job, const Run *run, int i, int k) noexcept nogil:
    """Whether instruction i may do block k: its inputs are there, and who reads its output is done with block k - 2."""
    cdef const Instruction *ins = &run.instructions[i]
    cdef const Instruction *other
    cdef int j, v
    for j in range(run.n_instructions):
        other = &run.instructions[j]
        for v in range(ins.n_inputs):
            if other.output == ins.inputs[v] and fg_seen(&job.tasks.progress[j]) <= k:
                return False
        for v in range(other.n_inputs):
            if other.inputs[v] == ins.output and fg_seen(&job.tasks.progress[j]) < k - 1:
                return False
    return True


cdef void place_value(const Job *job, Run *run, int value, int k) noexcept nogil:
    """Where block k of a value lies."""
    cdef const fg_rows *first = &job.first[value]
    run.rows[value] = first[0]
    if not run.values[value].time:
        return
    if inside(job.whole, first):
        if k % 2:
            run.rows[value] = job.second[value]
    else:
        run.rows[value].data = <char *>first.data + k * job.block * first.t_stride * run.values[value].item


cdef void run_task(const Job *job, Run *run, int i, int k) noexcept nogil:
    cdef const Instruction *ins = &run.instructions[i]
    cdef int v
    run.T = min(job.block, job.T - k * job.block)
    run.final = k * job.block + run.T == job.T
    if run.final or run.values[ins.output].time or is_recurrent(ins):
        for v in range(ins.n_inputs):
            place_value(job, run, ins.inputs[v], k)
        place_value(job, run, ins.output, k)
        if job.whole.mask != NULL:
            run.mask = job.whole.mask + k * job.block * run.mask_t
        EXECUTE[ins.op](ins, run)


cdef void run_tasks(void *arg, int part) noexcept nogil:
    cdef Job *job = <Job *>arg
    cdef Run *run = &job.parts[part].run
    cdef int blocks = <int>((job.T + job.block - 1) // job.block)
    cdef int i, k
    cdef bint finished, worked
    while not stopped(run):
        finished, worked = True, False
        for i in range(run.n_instructions):
            if fg_seen(&job.tasks.progress[i]) == blocks:
                continue
            finished = False
            if not fg_claim(&job.tasks.claimed[i]):
                continue
            k = fg_seen(&job.tasks.progress[i])
            if k < blocks and ready(job, run, i, k):
                run_task(job, run, i, k)
                if run.watch != NULL and fg_seen(&run.watch.stop):
                    return  # the block may not be whole: nobody is to go on with it
                fg_publish(&job.tasks.progress[i], k + 1)
                worked = True
            fg_publish(&job.tasks.claimed[i], 0)
        if finished:
            return
        if not worked:
            fg_yield()
