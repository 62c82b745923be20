"""What a caller gives: inputs and outputs that fit are used in place, others are converted or refused."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t

from collections.abc import Mapping

import numpy as np

from .. import memory
from .._arrays import as_array, is_masked
from .buffers cimport Buffers
from .c cimport bytes_of, fg_times, idx
from .clocks cimport Clocks
from .codes cimport Value
from .plan cimport Plan

cnp.import_array()


@cython.final
cdef class Arguments:
    """Inputs and outputs of the calls of one stream."""

    def __cinit__(self, Buffers buffers not None, Clocks clocks not None):
        cdef Plan plan = buffers.plan
        self.plan, self.clocks, self.batch, self.B, self.rows = plan, clocks, buffers.batch, buffers.B, buffers.rows
        self.copies = []
        self.in_value, self.out_value = plan.inputs[0], plan.outputs[0]
        self.several, self.single = len(plan.outputs) > 1, len(plan.inputs) == 1
        lead = () if self.batch is None else (self.B,)
        ids = plan.values[self.in_value].size == 0
        self.own_frame = np.zeros(lead + plan.shapes[self.in_value], np.int64 if ids else plan.dtype)

    cdef bint takes(self, x) except -1:
        """True if an object is an id inside the table, or an array of numbers of the frame's shape: it then lies in
        `own_frame`. About five times faster than the generic conversion."""
        cdef idx i
        cdef int number
        if type(x) is int or type(x) is np.int64:
            if self.batch is not None or self.plan.values[self.in_value].size:
                return False
            try:
                (<int64_t *>self.own_frame.data)[0] = x
            except OverflowError:
                return False
            return outside(<int64_t *>self.own_frame.data, 1, self.plan.values[self.in_value].bound) < 0
        if (not cnp.PyArray_CheckExact(x) or self.plan.values[self.in_value].size == 0
                or cnp.PyArray_NDIM(x) != cnp.PyArray_NDIM(self.own_frame)):
            return False
        for i in range(cnp.PyArray_NDIM(x)):
            if cnp.PyArray_DIM(x, i) != cnp.PyArray_DIM(self.own_frame, i):
                return False
        number = cnp.PyArray_TYPE(x)
        if number == cnp.NPY_DOUBLE and self.plan.typenum == cnp.NPY_FLOAT and cnp.PyArray_ISCARRAY_RO(x):
            for i in range(cnp.PyArray_SIZE(x)):  # NumPy would warn of a number beyond float32
                (<float *>cnp.PyArray_DATA(self.own_frame))[i] = <float>(<double *>cnp.PyArray_DATA(x))[i]
            return True
        if not (number == cnp.NPY_FLOAT16 or number == cnp.NPY_FLOAT or cnp.PyTypeNum_ISINTEGER(number)
                or cnp.PyTypeNum_ISBOOL(number)):
            return False
        cnp.PyArray_CopyInto(self.own_frame, x)
        return True

    cdef bint all_fit(self, tuple frames) noexcept:
        cdef int i
        for i in range(len(frames)):
            if not fits(self, self.plan.inputs[i], frames[i], False):
                return False
        return True

    cdef tuple converted(self, x, bint chunk, str title, bint together=False):
        """The inputs as arrays of the engine's types; `title` is what the user calls them. Those of one base must have
        one number of steps, or all where they go `together`, as in a stream."""
        names = [self.plan.names[v] for v in self.plan.inputs]
        given = [x]
        if is_mapping(x):
            if set(x) != set(names):
                raise ValueError(f"{title} must have the inputs {names}, got {list(x)}")
            given = [x[name] for name in names]
        elif len(names) > 1:
            if not isinstance(x, (tuple, list)) or len(x) != len(names):
                got = f"{len(x)}" if isinstance(x, (tuple, list)) else type(x).__name__
                raise ValueError(f"{title} must be a tuple or a mapping of the {len(names)} inputs {names}, got {got}")
            given = x
        arrays = tuple([
            self.converted_input(v, array, chunk, title if len(names) == 1 else f"{title}[{name!r}]")
            for v, name, array in zip(self.plan.inputs, names, given)
        ])
        if chunk and len(arrays) > 1:
            self.check_steps(names, arrays, title, together)
        return arrays

    cdef int check_steps(self, list names, tuple arrays, str title, bint together) except -1:
        """Raise where inputs that must have one number of steps have several."""
        axis = 0 if self.batch is None else 1
        found = {}  # of each base
        for name, array, v in zip(names, arrays, self.plan.inputs):
            if self.plan.sizes[v][1]:
                base = 0 if together else self.plan.values[<int>v].clock
                found.setdefault(base, {})[name] = array.shape[axis]
        for steps in found.values():
            if len(set(steps.values())) > 1:
                of = "" if title == "x" else f" of {title}"
                which = "" if len(steps) == len(self.plan.inputs) else f" {', '.join(steps)}"
                raise ValueError(f"inputs{which}{of} must have the same number of steps, got {steps}")
        return 0

    cdef converted_input(self, int value, x, bint chunk, str name):
        """One input, converted."""
        cdef bint ids = self.plan.values[value].size == 0
        array = as_array(x, name)
        shape = (() if self.batch is None else (self.B,)) + (("T",) if chunk and self.plan.values[value].time else ())
        shape += () if ids else self.plan.shapes[value]
        fits = array.ndim == len(shape) and all(e == "T" or e == a for e, a in zip(shape, array.shape))
        if not fits:
            expected = "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
            raise ValueError(f"{name} must have shape {expected}, got {array.shape}")
        if array.size == 0:
            raise ValueError(f"{name} must have at least one step, got shape {array.shape}")
        if ids:
            if array.dtype.kind not in "iu":
                raise TypeError(f"{name} must be integer ids, got {array.dtype}")
            numbers = np.ascontiguousarray(array, dtype=np.int64)  # ids beyond int64 become negative
            bound = self.plan.values[value].bound
            wrong = outside(<int64_t *>cnp.PyArray_DATA(numbers), numbers.size, bound)
            if wrong >= 0:
                place = tuple([int(i) for i in np.unravel_index(wrong, array.shape)])
                at = f" at index {place if len(place) > 1 else place[0]}" if place else ""
                raise ValueError(f"{name} must have ids in 0..{bound - 1}, got {array.flat[wrong]}{at}")
            return numbers
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} must be real numbers, got {array.dtype}")
        with np.errstate(over="ignore"):  # a number beyond float32 is infinite there
            return np.ascontiguousarray(array, dtype=self.plan.dtype)

    cdef idx steps_of(self, tuple arrays):
        """T of converted inputs: the most that one of them has."""
        axis = 0 if self.batch is None else 1
        return max([a.shape[axis] for a, v in zip(arrays, self.plan.inputs) if self.plan.sizes[v][1]], default=1)

    cdef typed(self, list arrays):
        """The outputs, those of integers and truth values as such."""
        cdef dict dtypes = self.plan.dtypes
        with np.errstate(invalid="ignore"):  # what NaN and infinity become is up to the CPU
            arrays = [y.astype(dtypes[v]) if v in dtypes else y for y, v in zip(arrays, self.plan.outputs)]
        return tuple(arrays) if self.several else arrays[0]

    cdef list all_outputs(self, out, bint chunk):
        """The arrays of a model with several outputs, given or made."""
        cdef Plan plan = self.plan
        if out is not None and (not isinstance(out, (tuple, list)) or len(out) != len(plan.outputs)):
            raise ValueError(f"out must be a tuple of {len(plan.outputs)} arrays, got {type(out).__name__}")
        cdef list arrays = [output(self, v, None if out is None else out[i], chunk, f"out[{i}]")
                            for i, v in enumerate(plan.outputs)]
        cdef int j
        for i in range(len(arrays) if out is not None else 0):
            for j in range(i):
                if overlap(<cnp.ndarray>arrays[i], <cnp.ndarray>arrays[j]):
                    raise ValueError(f"out[{i}] must not share memory with out[{j}], got arrays that overlap")
        return arrays

    cdef cnp.ndarray beside(self, cnp.ndarray x, cnp.ndarray y, list arrays):
        """An input to read in place: itself, or a copy, kept by the stream, where an output given lies over it."""
        if overlap(y, x) if arrays is None else overlaps(arrays, x):
            x = x.copy()
            self.copies.append(x)
        return x

    cdef cnp.ndarray checked_output(self, int value, given, int n, const cnp.npy_intp *dims, str name):
        """An array that the caller gives for an output, if it has the n dimensions `dims`."""
        cdef int i
        cdef cnp.ndarray y
        cdef bint fits = isinstance(given, cnp.ndarray) and (type(given) is cnp.ndarray or not is_masked(given))
        if fits:
            y = <cnp.ndarray>given
            fits = (cnp.PyArray_TYPE(y) == self.plan.typenum and cnp.PyArray_ISCARRAY(y) and cnp.PyArray_NDIM(y) == n)
            for i in range(n):
                fits = fits and cnp.PyArray_DIM(y, i) == dims[i]
        if not fits:
            shape = tuple([dims[i] for i in range(n)])
            got = f"{given.dtype} of shape {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
            raise ValueError(
                f"{name} must be a writable C-contiguous {self.plan.dtype} array of shape {shape}, got {got}"
            )
        return y

    cdef int check_output(self, int value) except -1:
        """Raise where layers that give more steps than they take would give too many."""
        cdef const Value *v = &self.plan.values[value]
        cdef idx size = fg_times(bytes_of(self.clocks.due[v.clock], self.B, v.size), self.plan.kernels.item)
        if size > memory.get_memory_limit():
            memory.check(size, f"output {self.plan.names[value]!r} of this call", None)
        return 0


cdef bint is_mapping(x) except -1:
    """True of a dict or any other mapping; the abstract class is asked last, which takes the longest."""
    return isinstance(x, dict) or (not isinstance(x, (cnp.ndarray, tuple, list)) and isinstance(x, Mapping))


cdef bint overlap(cnp.ndarray a, cnp.ndarray b) noexcept:
    """True if two C-contiguous arrays share memory."""
    return (a.data < b.data + cnp.PyArray_NBYTES(b)) and (b.data < a.data + cnp.PyArray_NBYTES(a))


cdef bint overlaps(list arrays, cnp.ndarray b):
    """True if any of several arrays shares memory with `b`."""
    for a in arrays:
        if overlap(<cnp.ndarray>a, b):
            return True
    return False
