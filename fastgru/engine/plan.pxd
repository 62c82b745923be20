"""Packed weights and a flat list of instructions."""

cimport numpy as cnp

from .c cimport fg_kernels, fg_matrix, fg_narrow, Gemm, idx
from .codes cimport fg_field, fg_layer, Instruction, MAX_LOOPS, Value
from .structs cimport Structs
from .weights cimport Weights


cdef class Plan:
    cdef const fg_kernels *kernels
    cdef const fg_narrow *narrow
    cdef fg_kernels elsewhere  # of an instruction set that is not of this build: sizes alone
    cdef Gemm *blas
    cdef Instruction *instructions  # of `structs`, as the values
    cdef Value *values
    cdef int n_values, n_instructions, n_recurrences
    cdef readonly dict blockers
    cdef readonly list inputs, outputs, states, sizes, shapes, names
    cdef readonly str isa, dtype
    cdef readonly Py_ssize_t macs, latency, bytes
    cdef readonly list packed_bytes
    cdef readonly bint measure
    cdef idx work              # of a step of one row, in multiply-adds
    cdef str steps_key         # in a state that has counts: how many steps the inputs had
    cdef list still            # inputs without time that a stream keeps, since flushing it needs them, and their keys
    cdef object nodes          # texts, those of `Instruction.node` among them
    cdef int typenum
    cdef cnp.dtype descr       # of outputs
    cdef idx widest
    cdef idx largest           # elements of the largest frame
    cdef int n_slots
    cdef int[MAX_LOOPS] loop_begin, loop_end, loop_clock
    cdef int[MAX_LOOPS + 1] loop_moved  # where in `moved` the values begin that a loop moves on by a step
    cdef int *moved
    cdef int n_loops, clocks, n_windows
    cdef readonly int bases
    cdef bint framed           # has ops over frames of any rank
    cdef readonly dict dtypes  # of the outputs that are not floats
    cdef bint typed
    cdef bint scans            # and recurrences inside frames
    cdef bint loose            # flushing a stream gives steps that a whole sequence has not
    cdef bint picks            # takes single steps of a sequence, of which there must be enough
    cdef bint looks_up         # computed ids, which can be refused while a call runs
    cdef bint unfused          # some recurrent product is not made by `kernels.step`
    cdef Weights weights
    cdef Structs structs
    cdef int take(self, Structs structs) except -1
    cdef int finish(self) except -1
    cdef int note(self, Instruction *ins) except -1
    cdef int place(self, char *record, const fg_field *table, int precision) except -1
    cdef const void *placed(self, int kind, int n) except? NULL
    cdef int place_matrix(self, fg_matrix *w, int kind, int n, int precision) except -1
    cdef int place_layer(self, fg_layer *layer) except -1
    cdef int find_moved(self) except -1
    cdef int count_work(self, Instruction *ins) noexcept
    cdef idx row_work(self, const Instruction *ins) noexcept
