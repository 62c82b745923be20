"""Packed weights and a flat list of instructions."""

cimport numpy as cnp

from .c cimport fg_kernels, fg_matrix, fg_narrow, fg_nest, Gemm, idx
from .codes cimport fg_field, fg_layer, Instruction, MAX_LOOPS, Value
from .weights cimport Weights


cdef class Plan:
    cdef const fg_kernels *kernels
    cdef const fg_narrow *narrow
    cdef fg_kernels elsewhere  # of an instruction set that is not of this build: sizes alone
    cdef Gemm *blas
    cdef Instruction *instructions
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
    cdef list nodes            # names, of `Instruction.node`
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
    cdef list pieces           # memory of what instructions point to
    cdef str loading           # the node of the instruction that is loaded, for messages
    cdef Weights weights
    cdef int find_moved(self, list values, list instructions) except -1
    cdef int count_work(self, Instruction *ins) noexcept
    cdef idx row_work(self, const Instruction *ins) noexcept
    cdef int load_value(self, Value *v, d) except -1
    cdef int load(self, Instruction *ins, d) except -1
    cdef int store_fields(self, void *record, d, const fg_field *field, beside) except -1
    cdef int store(self, char *to, const fg_field *field, value, beside) except -1
    cdef int store_items(self, char *record, const fg_field *field, value, beside) except -1
    cdef int room(self, const fg_field *field, items) except -1
    cdef int store_nest(self, fg_nest *nest, const fg_field *field, value, int n) except -1
    cdef int store_array(self, char *to, const fg_field *field, value, beside) except -1
    cdef int store_matrix(self, fg_matrix *w, value, beside) except -1
    cdef int store_layer(self, fg_layer *layer, value) except -1
    cdef Instruction *inner(self, value) except NULL
    cdef void *reserve(self, idx size) except NULL
