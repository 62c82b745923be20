"""The C side as the engine sees it; what its fields mean stands in the headers under include/fastgru/."""

from cpython.mem cimport PyMem_Calloc
from libc.stdint cimport int32_t, int64_t, uint8_t

ctypedef Py_ssize_t idx

cdef extern from "fastgru/sizes.h" nogil:
    Py_ssize_t FG_TOO_LARGE
    Py_ssize_t fg_plus(Py_ssize_t a, Py_ssize_t b)
    Py_ssize_t fg_times(Py_ssize_t a, Py_ssize_t b)
    Py_ssize_t fg_round_up(Py_ssize_t size, Py_ssize_t unit)

cdef extern from "fastgru/fastgru.h" nogil:
    ctypedef struct fg_act:
        int kind
        double alpha, beta
    ctypedef struct fg_rows:
        void *data
        idx t_stride, b_stride
    ctypedef struct fg_matrix:
        const void *data
        idx panels, gates, inner
        int format
        const float *scale
        const int32_t *offset
        idx units
        const int32_t *starts
        const int32_t *blocks
        const int32_t *sums  # in the place of starts
        const int32_t *zero  # of blocks
        const uint8_t *paired
        float input_scale, input_zero
    enum:
        FG_NATIVE, FG_FLOAT16, FG_BFLOAT16, FG_INT8, FG_SPARSE, FG_SPARSE_INT8
        FG_LINES
        FG_TRACED
    ctypedef struct fg_nest:
        int rank, outer, steps_and_rows, operands
        idx dims[12]
        idx strides[8][12]
    ctypedef struct fg_line:
        idx size
    ctypedef struct fg_kernels:
        idx lanes, item
        void (*lines)(fg_line *, int, idx) noexcept nogil
    ctypedef struct fg_narrow:
        const char *name
        idx (*scratch)(const fg_matrix *) noexcept nogil
    ctypedef struct fg_isa:
        const char *name
        const fg_kernels *f32
        const fg_kernels *f64
        int supported
        const fg_narrow *narrow

cdef extern from "fastgru/pool.h" nogil:
    ctypedef struct fg_barrier:
        pass
    int fg_seen(const int *)
    void fg_publish(int *, int)
    bint fg_claim(int *)
    int fg_add(int *counter, int n)

ctypedef void (*gemm_t)(int, int, int, const void *, int, const void *, int, void *, int) noexcept nogil

cdef struct Gemm:
    gemm_t f32
    gemm_t f64

cdef enum:
    ALIGN = 64
    NO_NODE = -1


cdef inline idx bytes_of(idx count, idx width, idx size) noexcept nogil:
    return fg_times(fg_times(count, width), size)


cdef inline void *allocate(idx count, size_t size) except NULL:
    """Zeroed memory for an array, to be freed by PyMem_Free."""
    cdef void *found = PyMem_Calloc(max(1, count), size)
    if found == NULL:
        raise MemoryError(f"{count * size} bytes could not be allocated")
    return found
