"""How many steps each value has in a call."""

from .buffers cimport Buffers
from .c cimport idx
from .plan cimport Plan
from .run cimport Window

cdef enum:
    ENDED = -1                 # in place of a number of steps

cdef idx MOST_STEPS


cdef class Clocks:
    cdef Plan plan
    cdef Buffers buffers
    cdef Window *windows
    cdef idx[32] due           # steps of each clock in a call
    cdef idx *counts           # of windows, for `counts_at`
    cdef idx steps             # of the inputs since the beginning; ENDED: the sequence has ended
    cdef int count_inputs(self, inputs, idx T, bint chunk) except -1
    cdef int count_due(self, bint ends, bint rest) except -1
    cdef str node_of(self, int window)
    cdef str wrong_meeting(self, int window, idx steps)
    cdef int check_stepwise(self) except -1
    cdef int check_picked(self) except -1
    cdef int check_masked(self, idx T) except -1
    cdef void count_steps(self, idx T, bint ends) noexcept
    cdef bint counts_differ(self, idx steps) noexcept
    cdef void counts_at(self, idx steps, idx *counts) noexcept
