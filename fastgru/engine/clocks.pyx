"""How many steps each value has in a call, and since the stream was new."""

cimport cython
cimport numpy as cnp
from cpython.mem cimport PyMem_Free

from .buffers cimport Buffers
from .c cimport allocate, fg_plus, fg_times, idx
from .codes cimport (
    fg_op_line, Instruction, is_line, is_nest, is_recurrent, MIRROR, OVERLAP_ADD, STORE, TIME_STEP, Value, WINDOW)
from .run cimport held_before, meeting_due, mirror_due, overlaps_due, sliced_steps, Window, windows_due

cnp.import_array()

cdef idx MOST_STEPS = <idx>1 << 59


@cython.final
cdef class Clocks:
    """Counts the steps of a call by the steps of its inputs and what the lines of memory hold."""

    def __cinit__(self, Buffers buffers not None):
        self.buffers, self.plan, self.windows = buffers, buffers.plan, buffers.windows
        self.counts = <idx *>allocate(self.plan.n_windows, sizeof(idx))
        buffers.run.due = self.due

    def __dealloc__(self):
        PyMem_Free(self.counts)

    cdef int count_inputs(self, inputs, idx T, bint chunk) except -1:
        """The steps of every base in this call: T, or as many as its inputs have where these differ."""
        cdef int i
        cdef const Value *v
        for i in range(self.plan.bases):
            self.due[i] = T
        if self.plan.bases > 1 and chunk:
            for i in range(len(self.plan.inputs)):
                v = &self.plan.values[<int>self.plan.inputs[i]]
                if v.time:
                    self.due[v.clock] = cnp.PyArray_DIM(<cnp.ndarray>inputs[i], 0 if self.buffers.batch is None else 1)
        return 0

    cdef int count_due(self, bint ends, bint rest) except -1:
        """The steps that each clock counts in this call."""
        cdef int i, clock
        cdef idx kept
        cdef const Instruction *ins
        cdef const fg_op_line *line
        cdef const Window *w
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if ends and is_nest(ins) and ins.nest.some_steps and self.due[ins.clock] == 0:
                raise ValueError(f"sequence to fold by node {self.plan.nodes[ins.node]!r} must have at least one step, "
                                 "got none: give a longer one")
            if not is_line(ins):
                continue
            line, clock = &ins.line, self.plan.values[ins.output].clock
            w = &self.windows[line.window]
            if ins.op == OVERLAP_ADD:
                self.due[clock] = overlaps_due(&ins.overlap_add, w, self.due[ins.clock], ends, rest)
                continue
            kept = fg_plus(held_before(w), self.due[ins.clock])
            if ins.op == MIRROR:
                if ends and 0 < kept < line.reach:
                    raise ValueError(f"sequence to pad by node {self.node_of(line.window)!r} must have at least "
                                     f"{line.reach} steps, got {kept}")
                self.due[clock] = mirror_due(line, w, self.due[ins.clock], ends)
                continue
            if ins.op == WINDOW:
                kept = sliced_steps(&ins.window, self.due[ins.clock]) if ins.window.n_bounds else kept
                self.due[clock] = windows_due(line, max(0, fg_plus(kept, line.after if ends else 0)))
                continue
            if ins.wait.n_meeting:
                self.due[clock] = meeting_due(&ins.wait, self.windows, self.due)
                if self.due[clock] < 0:
                    raise RuntimeError(f"plan is not consistent: node {self.plan.nodes[ins.node]!r} holds fewer steps "
                                       "than none; make the plan anew from its model")
            if ends and kept != self.due[clock] and not (rest and self.plan.loose):
                raise ValueError(self.wrong_meeting(line.window, kept - self.due[clock]))
        return 0

    cdef str node_of(self, int window):
        """The name of the node that keeps these steps."""
        keys = [key for key, number, name, _ in self.plan.states if (number, name) == (window, "history")]
        return keys[0].removesuffix(".history")

    cdef str wrong_meeting(self, int window, idx steps):
        """What to say where a value that waits for another has more or fewer steps than that at the end."""
        more = "more" if steps > 0 else "fewer"
        return (f"inputs of node {self.node_of(window)!r} must have one number of steps, "
                f"got {abs(steps)} {more} of one than of the other: give a sequence of another length")

    cdef int check_stepwise(self) except -1:
        """Raise unless the next step gives one step of every output."""
        self.count_inputs(None, 1, False)
        self.count_due(False, False)
        for value in self.plan.outputs:
            if self.plan.values[<int>value].time and self.due[self.plan.values[<int>value].clock] != 1:
                got = self.due[self.plan.values[<int>value].clock]
                raise ValueError(
                    f"step must give one step of output {self.plan.names[value]!r}, got {got} due now; "
                    "use process, which gives as many as are due"
                )
        return 0

    cdef int check_picked(self) except -1:
        """Raise where a whole sequence has too few steps for one that is taken from it."""
        cdef const Instruction *ins
        cdef int i
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if ins.op == TIME_STEP and self.due[ins.clock] < ins.time_step.fewest:
                raise ValueError(
                    f"sequence of which node {self.plan.nodes[ins.node]!r} takes a step must have at least "
                    f"{ins.time_step.fewest}, got {self.due[ins.clock]}: give a longer one"
                )
        return 0

    cdef int check_masked(self, idx T) except -1:
        """Raise where a mask of T steps would meet a layer that runs over another number of steps."""
        cdef const Instruction *ins
        cdef int i
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if (is_recurrent(ins) or ins.op == STORE or ins.op == TIME_STEP) and self.due[ins.clock] != T:
                raise ValueError(
                    f"lengths and mask must be omitted when a layer has another number of steps than the input: "
                    f"{self.plan.nodes[ins.node]!r} has {self.due[ins.clock]}, x has {T}; "
                    "call the model with rows of one length"
                )
        return 0

    cdef void count_steps(self, idx T, bint ends) noexcept:
        """Count the steps of a call that has come to its end."""
        if self.steps != ENDED:
            self.steps += T
            if ends and self.counts_differ(self.steps):
                self.steps = ENDED

    cdef bint counts_differ(self, idx steps) noexcept:
        """True unless every layer holds what it holds after so many steps of a sequence that goes on."""
        cdef int i
        cdef bint differ = False
        self.counts_at(steps, self.counts)
        for i in range(self.plan.n_windows):
            differ = differ or held_before(&self.windows[i]) != self.counts[i]
        return differ

    cdef void counts_at(self, idx steps, idx *counts) noexcept:
        """Count the steps that every window, wait and overlap-add holds after so many steps of the inputs."""
        cdef idx[32] totals  # steps that each clock counted
        cdef const Instruction *ins
        cdef const fg_op_line *line
        cdef int i, j, clock
        cdef idx taken
        for i in range(self.plan.bases):
            totals[i] = steps
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if not is_line(ins):
                continue
            line, clock, taken = &ins.line, self.plan.values[ins.output].clock, totals[ins.clock]
            if ins.op == WINDOW:
                counts[line.window] = taken = fg_plus(line.before, taken)
                if steps > 0:
                    counts[line.window] -= windows_due(line, taken) * line.stride
                if clock != ins.clock:
                    totals[clock] = windows_due(line, taken) if steps > 0 else 0
            elif ins.op == MIRROR:
                counts[line.window] = min(taken, line.reach)
                totals[clock] = fg_plus(taken, line.before) if taken >= line.reach else 0
            elif ins.op == OVERLAP_ADD:
                totals[clock] = max(0, fg_times(taken, line.stride) - line.before)
                counts[line.window] = -max(0, line.before - fg_times(taken, line.stride)) or <idx>(taken > 0)
            else:
                if ins.wait.n_meeting:
                    totals[clock] = taken
                    for j in range(ins.wait.n_meeting):
                        totals[clock] = min(totals[clock], totals[ins.wait.meeting[j][1] - 1])
                counts[line.window] = taken - totals[clock]
