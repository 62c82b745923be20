"""The state of a stream as arrays: copies of it, and what may be set."""

cimport cython
cimport numpy as cnp
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

import math

import numpy as np

from .._arrays import as_array
from .._names import nearest
from .arguments cimport Arguments
from .buffers cimport Buffers
from .c cimport idx
from .clocks cimport Clocks, ENDED, MOST_STEPS
from .codes cimport fg_layer, Instruction, is_line, is_recurrent, MIRROR, OVERLAP_ADD
from .run cimport held_before, product_width, Recurrence, row, Run, Window

cnp.import_array()


@cython.final
cdef class State:
    """What a stream carries from call to call, by the keys of `Plan.states`."""

    def __cinit__(self, Buffers buffers not None, Clocks clocks not None, Arguments arguments not None):
        self.plan, self.buffers, self.clocks, self.arguments = buffers.plan, buffers, clocks, arguments
        self.batch, self.B, self.rows = buffers.batch, buffers.B, buffers.rows
        self.recurrences, self.windows = buffers.recurrences, buffers.windows

    cdef view(self, int recurrence, str name, tuple shape):
        """A state as an array (B, *shape) over the arena."""
        cdef int i
        cdef const Instruction *ins = NULL
        cdef Recurrence *r
        cdef cnp.npy_intp[2] dims
        cdef void *data
        dims[0] = self.B
        if recurrence < 0:
            i = -1 - recurrence
            dims[1] = self.plan.values[i].size
            data = self.rows[i].data
            return cnp.PyArray_SimpleNewFromData(2, dims, self.plan.typenum, data).reshape((self.B, *shape))
        r = &self.recurrences[recurrence]
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if is_recurrent(ins) and ins.recurrent.layer.state == recurrence:
                break
        data = r.h[r.now]
        dims[1] = ins.recurrent.layer.features_padded
        if name == "c":
            data, dims[1] = r.c, ins.recurrent.layer.units_padded
        elif name == "y":
            data, dims[1] = r.last, ins.recurrent.layer.features
        return cnp.PyArray_SimpleNewFromData(2, dims, self.plan.typenum, data)[:, :shape[0]]

    cdef lines(self, int window, Py_ssize_t size):
        """The line of a window op as an array (B, capacity, size) over the arena."""
        cdef cnp.npy_intp[3] dims
        dims[0], dims[1], dims[2] = self.B, self.windows[window].capacity, size
        return cnp.PyArray_SimpleNewFromData(3, dims, self.plan.typenum, self.windows[window].line)

    cdef taken(self, int recurrence, str name, tuple shape):
        """A copy of a state, (B, *shape)."""
        cdef Window *w = &self.windows[recurrence]
        if name == "held":
            return np.full(self.B, held_before(w), dtype=np.int64)
        if name == "sums":
            return self.lines(recurrence, math.prod(shape[1:]))[:, :shape[0]].copy().reshape((self.B, *shape))
        if name != "history":
            return self.view(recurrence, name, shape).copy()
        array = np.zeros((self.B, *shape), dtype=self.plan.dtype)
        if held_before(w) > 0:
            flat = array.reshape(self.B, shape[0], math.prod(shape[1:]))
            flat[:, :held_before(w)] = self.lines(recurrence, flat.shape[2])[:, w.drop:w.held]
        return array

    cdef put(self, int recurrence, str name, tuple shape, array):
        """Set a state; of a window op first its history, then how many steps of that there are."""
        cdef Window *w
        cdef idx count
        if name == "history" or name == "sums":
            flat = np.reshape(array, (self.B, shape[0], math.prod(shape[1:])))
            self.lines(recurrence, flat.shape[2])[:, :shape[0]] = flat
        elif name == "held":
            w = &self.windows[recurrence]
            count = np.ravel(array)[0]
            w.held, w.drop = max(0, count), max(0, -count)
        else:
            self.view(recurrence, name, shape)[...] = array

    cdef dict get(self):
        """A copy of the state."""
        result = {}
        for key, recurrence, name, shape in self.plan.states:
            array = self.taken(recurrence, name, shape)
            result[key] = array[0] if self.batch is None else array
        if self.plan.n_windows:
            steps = self.clocks.steps
            result[self.plan.steps_key] = np.int64(steps) if self.batch is None else np.full(self.B, steps)
        for v, key in self.plan.still:
            result[key] = self.buffers.still[v].copy()
        return result

    cdef int set(self, given) except -1:
        """Copy the arrays of a state, or raise an error that lists what does not fit, and change nothing."""
        arrays = self.checked_state(given)
        self.buffers.save()
        try:
            for key, recurrence, name, shape in self.plan.states:
                self.put(recurrence, name, shape, arrays[key])
            if self.plan.n_windows:
                self.clocks.steps = np.ravel(arrays[self.plan.steps_key])[0]
            for v, key in self.plan.still:
                self.buffers.still[v][...] = arrays[key]
        except BaseException:  # out of memory in the middle
            self.buffers.restore()
            raise
        return 0

    cdef dict checked_state(self, given):
        """Copies of the arrays of a state, all of which fit."""
        problems, arrays = [], {}
        try:
            given = dict(given)
        except (TypeError, ValueError):
            raise TypeError(f"state must be a dict of arrays, got {type(given).__name__}") from None
        rows = {key: (shape, name == "held") for key, _, name, shape in self.plan.states}
        inputs = {key: v for v, key in self.plan.still}
        rows.update({key: ((), False) for key in inputs})
        if self.plan.n_windows:
            rows[self.plan.steps_key] = ((), True)
        for key in rows.keys() - given.keys():
            problems.append(f"state must have the key {key!r}, which is missing")
        for key in given.keys() - rows.keys():
            known = f"one of {nearest(key, rows)}" if rows else "none, as the model carries no state"
            problems.append(f"key of state must be {known}, got {key!r}")
        for key in rows.keys() & given.keys():
            if key in inputs:
                arrays[key] = self.checked_input(inputs[key], given[key], key, problems)
                continue
            shape = rows[key][0] if self.batch is None else (self.B, *rows[key][0])
            array = as_array(given[key], f"state[{key!r}]")
            if array.shape != shape or array.dtype.kind not in "fiu":
                got = f"{array.dtype} of shape {array.shape}"
                problems.append(f"state[{key!r}] must be real numbers of shape {shape}, got {got}")
            elif rows[key][1]:
                arrays[key] = self.checked_count(key, array, problems)
            else:
                with np.errstate(over="ignore"):
                    arrays[key] = array.astype(self.plan.dtype)
        if not problems and self.plan.n_windows:
            self.check_counts(arrays, problems)
        if problems:
            raise ValueError("; ".join(sorted(problems)))
        return arrays

    cdef checked_input(self, int value, given, key, list problems):
        """An input without time, converted."""
        try:
            return self.arguments.converted_input(value, given, False, f"state[{key!r}]")
        except (TypeError, ValueError) as error:
            problems.append(str(error))
        return None

    cdef checked_count(self, key, array, list problems):
        """A number of steps as int64, the same for all rows."""
        counts = np.unique(array).tolist()
        if len(counts) == 1 and -MOST_STEPS <= counts[0] <= MOST_STEPS and counts[0] == int(counts[0]):
            return array.astype(np.int64)
        got = ", ".join(f"{n:g}" for n in counts[:4]) + (", ..." if len(counts) > 4 else "")
        problems.append(f"state[{key!r}] must be one integer of at most 2**59, got {got}")
        return None

    cdef int check_counts(self, dict arrays, list problems) except -1:
        """Append a problem for every number of steps held that can't be after so many steps of the inputs."""
        cdef idx steps = np.ravel(arrays[self.plan.steps_key])[0]
        if steps < 0:
            got = "that of a sequence that has ended" if steps == ENDED else f"{steps}"
            problems.append(f"state[{self.plan.steps_key!r}] must be the steps of a sequence that goes on, got {got}")
            return 0
        self.clocks.counts_at(steps, self.clocks.counts)
        for key, window, name, _ in self.plan.states:
            if name != "held":
                continue
            got, held = np.ravel(arrays[key])[0], self.clocks.counts[<int>window]
            if got != held:
                problems.append(f"state[{key!r}] must be {held} after {steps} steps, got {got}")
        return 0

    cdef void initialise(self) noexcept:
        """Return to the beginning."""
        self.clocks.steps = 0
        self.buffers.initialise()

    cdef int reset_rows(self, rows) except -1:
        cdef cnp.ndarray numbers
        cdef idx i
        if rows is None:
            self.initialise()
            return 0
        index = as_array(rows, "rows")
        if index.dtype == bool and index.shape == (self.B,):
            index = np.flatnonzero(index)
        index = np.atleast_1d(index)
        if index.size and (index.ndim != 1 or index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= self.B):
            raise ValueError(f"rows must be indices in 0..{self.B - 1} or a mask of shape ({self.B},), got {rows!r}")
        if len(np.unique(index)) == self.B:
            self.initialise()
            return 0
        numbers = np.ascontiguousarray(index, dtype=np.intp)
        self.check_rows_apart()
        self.buffers.settle()
        for i in range(numbers.size):
            self.buffers.initialise_row((<idx *>cnp.PyArray_DATA(numbers))[i])
        return 0

    cdef cnp.ndarray numbered(self, rows):
        """The rows that a caller asks for, as indices; raise unless each is one of the stream."""
        cdef cnp.ndarray numbers = None
        cdef idx i
        index = as_array(rows, "rows")
        if index.ndim == 1 and index.size and index.dtype.kind in "iu":
            numbers = np.ascontiguousarray(index, dtype=np.intp)
            for i in range(cnp.PyArray_DIM(numbers, 0)):
                if not 0 <= (<idx *>cnp.PyArray_DATA(numbers))[i] < self.B:
                    numbers = None
                    break
        if numbers is None:
            raise ValueError(f"rows must be one or more indices in 0..{self.B - 1}, got {rows!r}")
        return numbers

    cdef bint holds_like(self, State other) noexcept:
        """True if every line holds as many steps as that of another stream of the plan."""
        cdef int i
        for i in range(self.plan.n_windows):
            if held_before(&self.windows[i]) != held_before(&other.windows[i]):
                return False
        return self.clocks.steps != ENDED and other.clocks.steps != ENDED

    cdef int adopt(self, State source, cnp.ndarray sources, cnp.ndarray targets, bint whole) except -1:
        """Let rows go on from rows of another stream of the plan; the `whole` of them: as many steps then are held."""
        cdef int i
        cdef idx held
        if whole:
            for i in range(self.plan.n_windows):
                held = held_before(&source.windows[i])
                self.windows[i].held, self.windows[i].drop = max(0, held), max(0, -held)
            self.clocks.steps = source.clocks.steps
        self.copy_rows(source, sources, targets)
        for v, array in source.buffers.still.items():
            self.buffers.still[v][targets] = array if source.batch is None else array[sources]
        return 0

    cdef int reorder(self, cnp.ndarray rows) except -1:
        """Let each row go on from another one; rows that stay in place are not copied."""
        cdef cnp.ndarray sources = np.empty(self.B, np.intp), targets = np.empty(self.B, np.intp)
        cdef const idx *given = <const idx *>cnp.PyArray_DATA(rows)
        cdef idx i, count = 0
        cdef bint apart = True  # no row is both read and written, as of beams: any order will do
        for i in range(self.B):
            if given[i] != i:
                apart &= given[given[i]] == given[i]
                (<idx *>cnp.PyArray_DATA(sources))[count], (<idx *>cnp.PyArray_DATA(targets))[count] = given[i], i
                count += 1
        if not count:
            return 0
        if apart:
            sources, targets = sources[:count], targets[:count]
        else:
            sources, targets = (np.array(each, np.intp) for each in zip(*ordered_moves(rows.tolist())))
        self.copy_rows(self, sources, targets)
        for array in self.buffers.still.values():
            array[...] = array[rows]
        return 0

    cdef int copy_rows(self, State source, cnp.ndarray sources, cnp.ndarray targets) except -1:
        """Copy rows of all that is carried; the row `ASIDE` is memory for one, beside the stream."""
        cdef Moves moves
        cdef int i
        cdef idx item = self.plan.kernels.item
        cdef const Instruction *ins
        cdef Window *a
        cdef Window *b
        cdef Recurrence *r
        cdef Recurrence *s
        moves.sources, moves.targets = <const idx *>cnp.PyArray_DATA(sources), <const idx *>cnp.PyArray_DATA(targets)
        moves.count, moves.aside = sources.size, <char *>malloc(max(1, self.buffers.layout.state_bytes // self.B))
        if moves.aside == NULL:
            raise MemoryError("memory to move rows of a stream could not be allocated")
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if is_recurrent(ins):
                r, s = &self.recurrences[ins.recurrent.layer.state], &source.recurrences[ins.recurrent.layer.state]
                move(&moves, r.h[r.now], s.h[s.now], ins.recurrent.layer.features_padded * item)
                move(&moves, r.c, s.c, ins.recurrent.layer.units_padded * item)
                move(&moves, r.last, s.last, ins.recurrent.layer.features * item)
            elif is_line(ins):
                a, b = &self.windows[ins.line.window], &source.windows[ins.line.window]
                if ins.op == OVERLAP_ADD:
                    move_steps(&moves, a.line, a.capacity, b.line, b.capacity, ins.line.kept, ins.size * item)
                else:
                    move_steps(
                        &moves, a.line + a.drop * ins.size * item, a.capacity, b.line + b.drop * ins.size * item,
                        b.capacity, held_before(b), ins.size * item)
        for i in range(self.plan.n_values):
            if self.plan.values[i].state:
                move_steps(
                    &moves, row(&self.rows[i], item, 0, 0), self.rows[i].b_stride, row(&source.rows[i], item, 0, 0),
                    source.rows[i].b_stride, self.plan.values[i].size, item)
        free(moves.aside)
        return 0

    cdef int check_rows_apart(self) except -1:
        """Raise when a row that begins anew would have another number of steps in its windows than the others."""
        cdef int i
        cdef const Instruction *ins
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if is_line(ins) and self.counts_apart(ins):
                raise ValueError(
                    "single rows can be reset only if every layer holds as many steps as a new stream does, "
                    "but one strides over steps or has no padding: reset all rows"
                )
        return 0

    cdef bint counts_apart(self, const Instruction *ins) noexcept:
        """Whether a window, an overlap-add or a wait counts other steps than at the beginning."""
        cdef const Window *w = &self.windows[ins.line.window]
        if ins.op == OVERLAP_ADD:
            return w.drop != ins.line.before
        return held_before(w) != (0 if ins.op == MIRROR else ins.line.before)

    # Edits, of plans that show gates ----------------------------------------------------------------

    cdef int edited_by(self, editor) except -1:
        """Call ``editor(node, arrays)`` at every step of every recurrence from here on; nothing for None."""
        self.editor, self.raised = editor, None
        self.buffers.run.editor = <void *>self
        self.buffers.run.edit = NULL
        if editor is not None:
            self.buffers.run.edit = run_edit
        return 0

    cdef void edit_step(self, const Instruction *ins, idx t) noexcept:
        """Let the editor change the arrays of a step. What it raises ends the call, when that has come to its end."""
        if self.raised is not None:
            return
        try:
            self.editor(self.plan.nodes[ins.node], self.step_arrays(ins, t))
        except BaseException as error:
            self.raised, self.buffers.run.bad_id = error, 1

    cdef int raise_edit(self) except -1:
        """Raise what an edit raised, if one did."""
        raised, self.raised = self.raised, None
        if raised is not None:
            raise raised
        return 0

    cdef dict step_arrays(self, const Instruction *ins, idx t):
        """Views of the states before and behind a step, (B, units), and of gates by phase, (B, panels, G, lanes)."""
        cdef const fg_layer *layer = &ins.recurrent.layer
        cdef const Recurrence *r = &self.recurrences[layer.state]
        cdef idx width
        cdef int p
        found = {
            "h": self.rows_at(r.h[r.now], layer.features_padded)[:, :layer.features],
            "h_before": self.rows_at(r.h[1 - r.now], layer.features_padded)[:, :layer.features],
            "c": self.rows_at(r.c, layer.units_padded)[:, :layer.units],
            "c_before": self.rows_at(r.s1, layer.units_padded)[:, :layer.units],
            "y": self.rows_at(r.y, layer.features_padded)[:, :layer.features],
        }
        for p in range(layer.n_phases):
            width = product_width(&layer.phases[p], self.plan.kernels.lanes)
            if r.x[p] != NULL:
                gates = self.rows_at(r.x[p] + t * self.B * width * self.plan.kernels.item, width)
                shape = self.B, layer.phases[p].u.panels, layer.phases[p].u.gates, self.plan.kernels.lanes
                found[f"gates{p}"] = gates.reshape(shape)
        return found

    cdef rows_at(self, char *data, idx width):
        """Rows of memory of the stream as an array (B, width)."""
        cdef cnp.npy_intp[2] dims
        dims[0], dims[1] = self.B, width
        return cnp.PyArray_SimpleNewFromData(2, dims, self.plan.typenum, data)


cdef void run_edit(void *state, const Instruction *ins, Run *run, idx t) noexcept with gil:
    """Let the editor of a stream's state change a step."""
    (<State>state).edit_step(ins, t)


cdef void move(const Moves *moves, char *to, const char *source, idx size) noexcept nogil:
    """Copy rows that lie one behind the other."""
    move_steps(moves, to, 1, source, 1, 1, size)


cdef void move_steps(const Moves *moves, char *to, idx to_steps, const char *source, idx steps, idx count,
                     idx size) noexcept nogil:
    """Copy the first `count` steps of `size` bytes of rows; a row has `to_steps` and `steps` of them."""
    cdef idx i
    cdef char *a
    cdef const char *b
    for i in range(moves.count if count > 0 else 0):
        a = moves.aside if moves.targets[i] == ASIDE else to + moves.targets[i] * to_steps * size
        b = <const char *>moves.aside if moves.sources[i] == ASIDE else source + moves.sources[i] * steps * size
        memcpy(a, b, count * size)


cdef list ordered_moves(list rows):
    """The copies (from, to) that put row ``rows[i]`` in the place of row i, in an order in which none is written
    before it was read last. One row of each cycle goes aside first."""
    moves = []
    readers = [0] * len(rows)  # of each row: how many others are to be made of it
    for target, source in enumerate(rows):
        if source != target:
            readers[source] += 1
    ready = [i for i, source in enumerate(rows) if source != i and not readers[i]]
    left = {i: source for i, source in enumerate(rows) if source != i}
    while left:
        while ready:
            target = ready.pop()
            source = left.pop(target)
            moves.append((source, target))
            if source != ASIDE:
                readers[source] -= 1
                if not readers[source] and source in left:
                    ready.append(source)
        if left:  # cycles alone, in which each row is read once
            target = next(iter(left))
            moves.append((target, ASIDE))
            reader = next(i for i, source in left.items() if source == target)
            left[reader] = ASIDE
            ready.append(target)
    return moves
