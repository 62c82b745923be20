"""Weights as kernels read them."""

from .c cimport fg_kernels, fg_matrix, fg_narrow, idx


cdef class Weights:
    cdef const fg_narrow *narrow
    cdef idx lanes
    cdef bint for_blas
    cdef str dtype
    cdef idx bytes
    cdef bint measure
    cdef idx scratch           # bytes that products of low precision need
    cdef list kept             # of uint8 arrays, each at a multiple of 64 bytes in memory
    cdef list facts            # of each matrix: what its packing found in its weights
    cdef object stored         # arrays packed before, or None,
    cdef const char *base      # where they begin,
    cdef idx at, end           # how many bytes of them were given out, and all there are
    cdef dict packed           # what was packed of the arrays of instructions, by `id` and how
    cdef idx padded(self, idx n) noexcept
    cdef const void *own(self, array, dtype=*) except? NULL
    cdef const void *own_once(self, array, str how=*) except? NULL
    cdef bint unread(self) noexcept
    cdef const void *reserve(self, idx size) except NULL
    cdef int check_whole(self) except -1
    cdef void count_scratch(self, const fg_matrix *m) noexcept
    cdef int next_fact(self) except? -100
    cdef int stored_sparse(self, fg_matrix *m, tuple shape, idx kept, str precision) except -1
    cdef const void *own_panels(self, array, Py_ssize_t group=*, dtype=*) except? NULL
    cdef const void *own_gates(self, array, dtype=*) except? NULL
    cdef const void *own_rows(self, array) except? NULL
    cdef panels(self, array, Py_ssize_t group=*)
    cdef side_by_side(self, array)
    cdef fg_matrix pack(self, array, str precision, str how=*) except *
    cdef fg_matrix packed_anew(self, array, str precision) except *
    cdef fg_matrix unread_matrix(self, fg_matrix m, array, str precision) except *
    cdef bint pack_sparse(self, fg_matrix *m, codes, scale, str precision) except -1
    cdef fg_matrix table(self, array, str precision) except *

cdef Weights make_weights(const fg_kernels *kernels, const fg_narrow *narrow, str dtype, bint for_blas, bint measure,
                          tuple stored)
