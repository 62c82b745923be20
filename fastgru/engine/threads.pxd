"""A call on several threads."""

from .buffers cimport Buffers
from .c cimport fg_rows, idx
from .execute cimport Arena, Part
from .plan cimport Plan

cdef enum:
    # One step of this work is worth a meeting after every phase (0.3 us each while both threads spin).
    PANEL_MACS = 300000

cdef int default_threads
cdef int check_signals(void *raised) noexcept with gil


cdef class Team:
    cdef Plan plan
    cdef Buffers buffers
    cdef Part *parts
    cdef int n_parts
    cdef fg_rows *second       # values of odd blocks, when layers run side by side
    cdef Arena second_arena
    cdef int run_threaded(self, idx T, int threads) except -1
    cdef int make_parts(self, int parts) except -1
    cdef void free_parts(self) noexcept
    cdef int make_second(self) except -1
    cdef void fill_part(self, Part *part, int i, int parts, bint rows, bint wave) noexcept
    cdef int check_guards(self) except -1
