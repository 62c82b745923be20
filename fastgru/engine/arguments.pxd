"""What a caller gives, checked and converted."""

cimport numpy as cnp
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t
from libc.string cimport memset

from .buffers cimport Buffers
from .c cimport fg_rows, idx
from .clocks cimport Clocks
from .codes cimport Value
from .plan cimport Plan

cdef extern from "numpy/arrayobject.h":  # cnp leaves it out; it takes over a reference to the dtype
    object PyArray_NewFromDescr(type, cnp.dtype, int, cnp.npy_intp *, cnp.npy_intp *, void *, int, object)


cdef class Arguments:
    cdef Plan plan
    cdef Clocks clocks
    cdef object batch
    cdef idx B
    cdef fg_rows *rows
    cdef int in_value, out_value   # the first input and output
    cdef bint several, single      # outputs; whether there is one input
    cdef list copies               # of inputs that an output overlaps
    cdef cnp.ndarray own_frame     # of a step: the one input where it was converted, (*frame) or (B, *frame)
    cdef bint takes(self, x) except -1
    cdef bint all_fit(self, tuple frames) noexcept
    cdef tuple converted(self, x, bint chunk, str title, bint together=*)
    cdef int check_steps(self, list names, tuple arrays, str title, bint together) except -1
    cdef converted_input(self, int value, x, bint chunk, str name)
    cdef idx steps_of(self, tuple arrays)
    cdef list all_outputs(self, out, bint chunk)
    cdef cnp.ndarray beside(self, cnp.ndarray x, cnp.ndarray y, list arrays)
    cdef cnp.ndarray checked_output(self, int value, given, int n, const cnp.npy_intp *dims, str name)
    cdef int check_output(self, int value) except -1
    cdef typed(self, list arrays)


# What follows is part of every step, and is compiled into the module that calls it: 15 ns less of 300 (Zen 4).

cdef inline idx outside(const int64_t *ids, idx n, idx bound) noexcept:
    """The first of n ids that is not in 0..bound - 1, or -1."""
    cdef idx i
    for i in range(n):
        if not 0 <= ids[i] < bound:
            return i
    return -1


cdef inline idx fits(Arguments self, int value, x, bint chunk) noexcept:
    """The steps of an array that can be read in place as an input: 1, or as many as a chunk has; 0 of any other
    object."""
    cdef const Value *v = &self.plan.values[value]
    cdef int i, lead = 0 if self.batch is None else 1
    cdef idx steps = 1
    if (not cnp.PyArray_CheckExact(x) or cnp.PyArray_TYPE(x) != (self.plan.typenum if v.size else cnp.NPY_INT64)
            or not cnp.PyArray_ISCARRAY_RO(x)):
        return 0
    if lead and cnp.PyArray_NDIM(x) and cnp.PyArray_DIM(x, 0) != self.B:
        return 0
    if chunk and v.time:
        if cnp.PyArray_NDIM(x) > lead:
            steps = cnp.PyArray_DIM(x, lead)
        lead += 1
    if cnp.PyArray_NDIM(x) != v.n_shape + lead:
        return 0
    for i in range(v.n_shape):
        if cnp.PyArray_DIM(x, i + lead) != v.shape[i]:
            return 0
    if v.size == 0 and outside(<int64_t *>cnp.PyArray_DATA(x), self.B * steps, v.bound) >= 0:
        return 0
    return steps


cdef inline cnp.ndarray output(Arguments self, int value, given, bint chunk, str name):
    """The array of an output: the one given, or a new one."""
    cdef cnp.npy_intp[32] dims
    cdef int n = 0, i
    cdef cnp.ndarray y
    if self.batch is not None:
        dims[n] = self.B
        n += 1
    if chunk and self.plan.values[value].time:
        dims[n] = self.clocks.due[self.plan.values[value].clock]
        n += 1
    for i in range(self.plan.values[value].n_shape):
        dims[n] = self.plan.values[value].shape[i]
        n += 1
    if chunk and self.plan.n_windows:
        self.check_output(value)
    if given is not None:
        return self.checked_output(value, given, n, dims, name)
    Py_INCREF(self.plan.descr)  # the array takes it over; by type number, NumPy would look it up
    y = PyArray_NewFromDescr(cnp.ndarray, self.plan.descr, n, dims, NULL, NULL, 0, None)
    if self.plan.framed and not self.plan.values[value].time:
        memset(y.data, 0, cnp.PyArray_NBYTES(y))  # a call whose layers have no step yet may leave it
    return y


cdef inline void place(Arguments self, int value, cnp.ndarray array) noexcept:
    """Read an input, or write an output, in the memory of an array."""
    cdef const Value *v = &self.plan.values[value]
    cdef fg_rows *rows = &self.rows[value]
    rows.data = cnp.PyArray_DATA(array)
    rows.t_stride = max(1, v.size)
    rows.b_stride = rows.t_stride * (self.clocks.due[v.clock] if v.time else 1)
