"""Structs: the values and instructions of a plan, read from words; those of a file are checked."""

cimport cython
cimport numpy as cnp
from cpython.mem cimport PyMem_Free
from libc.stdint cimport int64_t
from libc.string cimport memset

import numpy as np

from ..errors import GraphError, listed
from .c cimport ALIGN, allocate, fg_round_up, idx, NO_NODE
from .codes cimport fg_value_fields, Instruction, MAX_CLOCKS, MAX_LOOPS, Value
from .read cimport (
    all_needs, check_plan, elements, FLOATS, INTS, MOST_CODE, Problem, PROBLEMS, read_fields, read_instruction,
    read_shape, read_within, Reader, Shape, Shown, STATE_AXES, Walk)

cnp.import_array()

cdef enum:
    POOL = 32768             # bytes of memory for what instructions point to, at once
    MOST_AXES = 8            # of an array of a file
    HEADS = 11               # words at the begin: four numbers, and how many there are of each kind

cdef int64_t MOST_NUMBERS = <int64_t>1 << 31, MOST = <int64_t>1 << 62  # elements of such an array; work and latency
# `NUMBERS` and `STORED` of fastgru/lowering/kinds.py, `STATE_NAMES` of encoding.py.
KINDS, DTYPES = ("float", "int", "bool"), ("", "int64", "bool")
STATE_NAMES = ("", "h", "c", "y", "history", "sums", "held")


@cython.final
cdef class Structs:
    """The parts of a plan before its weights are placed: in the place of an array stands its number, from 1 on."""

    def __dealloc__(self):
        PyMem_Free(self.shapes_of)
        PyMem_Free(self.values)
        PyMem_Free(self.instructions)

    cdef int read(self, given, bint untrusted) except -1:
        """Read words into structs; those of a file are checked before any of them is a size, an index or a place."""
        cdef cnp.ndarray words = np.ascontiguousarray(given, np.int64)
        cdef Reader reader
        cdef idx i, most = words.size
        cdef int axes = MOST_AXES if untrusted else STATE_AXES
        cdef int64_t heads[HEADS]
        memset(&reader, 0, sizeof(reader))
        reader.at = <const int64_t *>words.data
        reader.end, reader.texts = reader.at + most, len(self.texts)
        reader.reserve, reader.owner = reserved, <void *>self
        for i in range(HEADS):
            if not read_within(&reader, b"count", b"one that there is room for", 0, most if i > 3 else MOST, heads + i):
                raise refused(&reader, "")
        self.read_clocks(heads)
        self.macs, self.latency = heads[3], heads[2]
        reader.arrays = heads[4]
        self.n_values, self.n_instructions, self.n_loops = <int>heads[5], <int>heads[6], <int>heads[10]
        self.shapes_of = <Shape *>allocate(reader.arrays, sizeof(Shape))
        self.values = <Value *>allocate(self.n_values, sizeof(Value))
        self.instructions = <Instruction *>allocate(self.n_instructions, sizeof(Instruction))
        for i in range(reader.arrays):
            if not read_shape(&reader, b"shape of an array", &self.shapes_of[i], axes, untrusted):
                raise refused(&reader, "")
            if untrusted and elements(&self.shapes_of[i]) >= MOST_NUMBERS:
                raise GraphError("shape of an array must have fewer than 2**31 elements, got one with more")
        for i in range(self.n_values):
            if not read_fields(&reader, &self.values[i], fg_value_fields):
                raise refused(&reader, f"buffer {i}: ")
        for i in range(self.n_instructions):
            self.instructions[i].node = NO_NODE
            if not read_instruction(&reader, &self.instructions[i]):
                raise refused(&reader, self.named(<int>i))
        self.read_ends(&reader, heads, untrusted)
        if reader.at != reader.end:
            raise GraphError(f"plan must have {most - (reader.end - reader.at)} words, got {most}")
        return 0

    cdef int read_clocks(self, const int64_t *heads) except -1:
        """Read how many clocks and loops there are, for which the engine has room of a fixed size."""
        if not 1 <= heads[1] <= heads[0]:
            raise GraphError(f"clocks must be at least 1 and bases 1 to clocks, got {heads[0]} and {heads[1]}")
        if heads[0] > MAX_CLOCKS:
            raise GraphError(
                f"layers that change the number of steps, and inputs with their own, must be fewer than {MAX_CLOCKS}, "
                f"got {heads[0] - 1}"
            )
        if heads[10] > MAX_LOOPS:
            raise GraphError(
                f"loops of states, each of which starts at the end of another, must be at most {MAX_LOOPS}, "
                f"got {heads[10]}"
            )
        self.clocks, self.bases = <int>heads[0], <int>heads[1]
        return 0

    cdef int read_ends(self, Reader *reader, const int64_t *heads, bint untrusted) except -1:
        """Read inputs, outputs, states and loops, which stand behind the instructions; check all that was read."""
        cdef int n_inputs = <int>heads[7], n_outputs = <int>heads[8], n_states = <int>heads[9], i
        cdef int *ends = <int *>allocate(n_inputs + n_outputs, sizeof(int))
        cdef Shown *shown = <Shown *>allocate(n_states, sizeof(Shown))
        cdef int64_t word, begin, end
        try:
            for i in range(n_inputs + n_outputs):
                if not read_within(reader, b"inputs and outputs", b"buffers that there are", 0, self.n_values - 1,
                                   &word):
                    raise refused(reader, "")
                ends[i] = <int>word
            self.inputs = [ends[i] for i in range(n_inputs)]
            self.outputs = [ends[i] for i in range(n_inputs, n_inputs + n_outputs)]
            for i in range(n_states):
                self.read_state(reader, &shown[i])
            self.states = [told(&shown[i], self.texts) for i in range(n_states)]
            for i in range(self.n_loops):
                if not (read_within(reader, b"loop", b"of instructions", 0, self.n_instructions, &begin)
                        and read_within(reader, b"loop", b"of instructions", 0, self.n_instructions, &end)
                        and read_within(reader, b"clock of a loop", b"one of the plan", 0, MAX_CLOCKS, &word)):
                    raise refused(reader, "")
                self.loop_begin[i], self.loop_end[i], self.loop_clock[i] = <int>begin, <int>end, <int>word - 1
            if untrusted:
                self.check(ends, n_inputs, n_outputs, shown, n_states)
        finally:
            PyMem_Free(ends)
            PyMem_Free(shown)
        return 0

    cdef int read_state(self, Reader *reader, Shown *to) except -1:
        """Read a state that a stream shows."""
        cdef int64_t key, name
        if not (read_within(reader, b"key of a state", b"the number of a text", 0, reader.texts - 1, &key)
                and read_within(reader, b"number of a state", b"an integer below 2**31", -MOST_NUMBERS, MOST_NUMBERS,
                                &to.number)
                and read_within(reader, b"name of a state", b"one that there is", 0, len(STATE_NAMES) - 1, &name)
                and read_shape(reader, b"shape of a state", &to.shape, STATE_AXES, 0)):
            raise refused(reader, "")
        to.key, to.name = <int>key, <int>name
        return 0

    cdef int check(self, const int *ends, int n_inputs, int n_outputs, const Shown *shown, int n_states) except -1:
        """Raise GraphError unless all accesses lie inside of memory of the plan."""
        cdef Walk *walk = <Walk *>allocate(1, sizeof(Walk))
        cdef int *lines = <int *>allocate(3 * self.n_instructions + self.n_values, sizeof(int))
        cdef unsigned char *marks = <unsigned char *>allocate(2 * self.n_values + self.n_instructions, 1)
        cdef const Problem *problem
        cdef int i
        memory = []
        walk.values, walk.instructions, walk.shapes, walk.states = self.values, self.instructions, self.shapes_of, shown
        walk.inputs, walk.outputs = ends, ends + n_inputs
        walk.loop_begin, walk.loop_end, walk.loop_clock = self.loop_begin, self.loop_end, self.loop_clock
        walk.n_values, walk.n_instructions, walk.n_states = self.n_values, self.n_instructions, n_states
        walk.n_inputs, walk.n_outputs, walk.n_loops = n_inputs, n_outputs, self.n_loops
        walk.clocks, walk.bases = self.clocks, self.bases
        walk.written, walk.given, walk.shown = marks, marks + self.n_values, marks + 2 * self.n_values
        walk.lines, walk.recurrences, walk.earlier = lines, lines + self.n_instructions, lines + 2 * self.n_instructions
        walk.writer = lines + 3 * self.n_instructions
        walk.seen, walk.owner = seen, <void *>memory
        try:
            check_plan(walk)
            problems = []
            for i in range(min(walk.n_problems, PROBLEMS)):
                problem = &walk.problems[i]
                problems.append(self.named(problem.at) + problem.text.decode("ascii", "replace"))
        finally:
            PyMem_Free(walk)
            PyMem_Free(lines)
            PyMem_Free(marks)
        names = [self.texts[self.values[<int>v].name] for v in self.inputs]
        if len(set(names)) < len(names):
            problems.append(f"names of inputs must differ, got {names}")
        keys = [state[0] for state in self.states]
        if len(set(keys)) < len(keys):
            problems.append(f"keys of states must differ, got {keys}")
        if problems:
            raise GraphError(listed(problems))
        return 0

    cdef str named(self, int at):
        """An instruction or a state, -2 - n, as messages begin with it; "" for the plan as a whole, -1."""
        if at < 0:
            return "" if at == -1 else f"state {self.states[-2 - at][0]!r} "
        cdef const Instruction *ins = &self.instructions[at]
        if not 0 <= ins.op < MOST_CODE:
            return f"instruction {at}: "
        of = "" if ins.node == NO_NODE else f" of node {self.texts[ins.node]!r}"
        return f"instruction {at} ({all_needs[ins.op].mnemonic.decode().lower()}{of}): "

    cdef int tell_values(self) except -1:
        """Keep the sizes of values that callers and streams ask for."""
        cdef Value *v
        cdef int i, j
        self.sizes, self.shapes, self.names, self.dtypes = [], [], [], {}
        for i in range(self.n_values):
            v = &self.values[i]
            self.sizes.append((v.size, v.time > 0, KINDS[v.kind]))
            self.shapes.append(tuple([v.shape[j] for j in range(v.n_shape)]) if v.n_shape else ())
            self.names.append(self.texts[v.name])
            if v.dtype:
                self.dtypes[i] = DTYPES[v.dtype]
            self.n_slots, self.largest = max(self.n_slots, v.slot + 1), max(self.largest, v.size)
            v.clock, v.node = max(0, v.time - 1), NO_NODE
            v.item = self.item if v.kind == FLOATS else 8 if v.kind == INTS else 1
        for i in self.inputs + self.outputs:
            self.values[i].given = True
        return 0

    cdef void *reserve(self, idx size) except NULL:
        """Zeroed memory that lives as long as this."""
        cdef cnp.ndarray made
        size = fg_round_up(max(1, size), ALIGN)
        if size > self.room:
            made = np.zeros(max(size, POOL), np.uint8)
            self.pieces.append(made)
            self.pool, self.room = made.data, made.nbytes
        self.pool, self.room = self.pool + size, self.room - size
        return self.pool - size


cdef Structs read_structs(program, idx item, bint untrusted):
    """Read a program, whose numbers take `item` bytes."""
    cdef Structs made = Structs()
    made.item, made.texts, made.pieces, made.largest = item, program.texts, [], 1
    made.read(program.words, untrusted)
    made.tell_values()
    return made


cdef void *reserved(void *structs, size_t size) noexcept:
    """Memory for what a struct points to, or NULL."""
    try:
        return (<Structs>structs).reserve(<idx>size)
    except MemoryError:
        return NULL


cdef char *seen(void *memory, size_t size) noexcept:
    """Zeroed memory that lives as long as the list, or NULL."""
    cdef cnp.ndarray made
    try:
        made = np.zeros(size, np.uint8)
    except MemoryError:
        return NULL
    (<list>memory).append(made)
    return made.data


cdef object refused(const Reader *reader, str of):
    """The error of what was read last, of which instruction or buffer."""
    return GraphError(of + reader.problem.decode("ascii", "replace"))


cdef tuple told(const Shown *state, texts):
    """A state that a stream shows."""
    cdef int i
    shape = tuple([state.shape.dims[i] for i in range(state.shape.rank)])
    return texts[state.key], state.number, STATE_NAMES[state.name], shape
