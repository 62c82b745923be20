"""Weights as kernels read them."""

from .c cimport fg_kernels, fg_matrix, fg_narrow, idx
from .read cimport Shape
from .structs cimport Structs

cdef enum:  # `PRECISIONS`, by code
    FLOAT32, FLOAT16, BFLOAT16, INT8, INT8_AFFINE


cdef class Weights:
    cdef const fg_narrow *narrow
    cdef idx lanes, item
    cdef bint for_blas
    cdef str dtype
    cdef idx bytes
    cdef bint measure
    cdef idx scratch           # bytes that products of low precision need
    cdef list kept             # of uint8 arrays, each at a multiple of 64 bytes in memory
    cdef list facts            # of each matrix: what its packing found in its weights,
    cdef idx fact              # and how many of them were taken
    cdef object stored         # arrays packed before, or None,
    cdef const char *base      # where they begin,
    cdef idx at, end           # how many bytes of them were given out, and all there are
    cdef Structs structs
    cdef Shape *shapes   # of arrays, by their numbers,
    cdef object arrays         # and their numbers, or None
    cdef dict packed, matrices  # what was packed, by the number of its array and how
    cdef idx padded(self, idx n) noexcept
    cdef bint unread(self) noexcept
    cdef const void *reserve(self, idx size) except NULL
    cdef int end_all(self) except -1
    cdef const void *own(self, array, dtype=*) except NULL
    cdef const void *flat(self, int n) except NULL
    cdef const void *gates(self, int n) except NULL
    cdef const void *beside(self, int n) except NULL
    cdef const void *table(self, int n) except NULL
    cdef const void *padded_rows(self, int n) except NULL
    cdef const void *known(self, int n, int how) noexcept
    cdef const void *room(self, idx G, idx H, idx K, idx group, idx item) except NULL
    cdef const void *own_gates(self, array, dtype=*) except NULL
    cdef idx side_gates(self, idx N) noexcept
    cdef idx side_units(self, idx N, idx G) noexcept
    cdef panels(self, array, Py_ssize_t group=*)
    cdef side_by_side(self, array)
    cdef fg_matrix pack(self, int n, int precision, bint rows) except *
    cdef fg_matrix packed_anew(self, int n, int precision, bint rows) except *
    cdef int encode(self, fg_matrix *m, array, int code) except -1
    cdef int place(self, fg_matrix *m, idx G, idx H, idx K, int precision) except -1
    cdef void count_scratch(self, const fg_matrix *m) noexcept
    cdef idx next_fact(self) except? -100
    cdef int place_sparse(self, fg_matrix *m, idx G, idx H, idx K, idx kept, int precision) except -1
    cdef bint pack_sparse(self, fg_matrix *m, codes, scale, str precision) except -1
    cdef fg_matrix lookup(self, int n, int precision) except *
    cdef int make_lookup(self, fg_matrix *m, int n, int precision) except -1

cdef Weights make_weights(const fg_kernels *kernels, const fg_narrow *narrow, str dtype, bint for_blas, bint measure,
                          tuple stored, Structs structs, arrays)
