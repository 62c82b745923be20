"""The state of a stream as arrays."""

cimport numpy as cnp

from .arguments cimport Arguments
from .buffers cimport Buffers
from .c cimport fg_rows, idx
from .clocks cimport Clocks
from .codes cimport Instruction
from .plan cimport Plan
from .run cimport Recurrence, Window

cdef enum:
    ASIDE = -1                 # in place of a row: memory for one beside the stream

# Rows to copy, in this order.
cdef struct Moves:
    const idx *sources
    const idx *targets
    idx count
    char *aside


cdef class State:
    cdef Plan plan
    cdef Buffers buffers
    cdef Clocks clocks
    cdef Arguments arguments
    cdef object batch
    cdef idx B
    cdef fg_rows *rows
    cdef Recurrence *recurrences
    cdef Window *windows
    cdef object editor, raised  # what changes steps, and what that raised during a call
    cdef view(self, int recurrence, str name, tuple shape)
    cdef lines(self, int window, Py_ssize_t size)
    cdef taken(self, int recurrence, str name, tuple shape)
    cdef put(self, int recurrence, str name, tuple shape, array)
    cdef dict get(self)
    cdef int set(self, given) except -1
    cdef dict checked_state(self, given)
    cdef checked_input(self, int value, given, key, list problems)
    cdef checked_count(self, key, array, list problems)
    cdef int check_counts(self, dict arrays, list problems) except -1
    cdef void initialise(self) noexcept
    cdef int reset_rows(self, rows) except -1
    cdef cnp.ndarray numbered(self, rows)
    cdef bint holds_like(self, State other) noexcept
    cdef int adopt(self, State source, cnp.ndarray sources, cnp.ndarray targets, bint whole) except -1
    cdef int reorder(self, cnp.ndarray rows) except -1
    cdef int copy_rows(self, State source, cnp.ndarray sources, cnp.ndarray targets) except -1
    cdef int check_rows_apart(self) except -1
    cdef bint counts_apart(self, const Instruction *ins) noexcept
    cdef int edited_by(self, editor) except -1
    cdef void edit_step(self, const Instruction *ins, idx t) noexcept
    cdef int raise_edit(self) except -1
    cdef dict step_arrays(self, const Instruction *ins, idx t)
    cdef rows_at(self, char *data, idx width)
