"""All that changes while a model runs."""

from libc.stdint cimport uint8_t

from .arguments cimport Arguments
from .buffers cimport Buffers
from .c cimport idx
from .clocks cimport Clocks
from .plan cimport Plan
from .state cimport State
from .threads cimport Team


cdef class Stream:
    cdef Plan plan
    cdef readonly object batch, model, threads
    cdef Buffers buffers
    cdef Clocks clocks
    cdef Arguments arguments
    cdef State carried
    cdef Team team
    cdef bint busy             # a call uses the stream
    cdef list raised           # what a handler of a signal raised during a call
    cdef public object _look   # what traces and edits it, fastgru.inspect's
    cdef inline int claim(self) except -1
    cdef inline void release(self) noexcept
    cdef tuple converted(self, x, bint chunk)
    cdef int refuse_lengths(self, x, str own) except -1
    cdef forward(self, inputs, idx T, out, bint chunk, const uint8_t *mask, idx mask_t, idx mask_b, bint ends=*,
                 bint rest=*)
    cdef int run_all(self, idx T) except -1
    cdef int end_refused(self) except -1
    cdef int end_misfit(self, bint saved) except -1
