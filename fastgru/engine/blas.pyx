"""Row-major BLAS: the only module that sees `scipy.linalg.cython_blas`.

The engine must not import SciPy unless a model asks for BLAS, so it receives these functions as a
capsule (`functions`) when such a model is built.
"""

from cpython.pycapsule cimport PyCapsule_New
from scipy.linalg.cython_blas cimport dgemm, sgemm


cdef struct Gemm:
    void (*f32)(int, int, int, const void *, int, const void *, int, void *, int) noexcept nogil
    void (*f64)(int, int, int, const void *, int, const void *, int, void *, int) noexcept nogil


cdef void gemm_f32(int M, int N, int K, const void *a, int lda, const void *b, int ldb, void *c,
                   int ldc) noexcept nogil:
    """c += a b' with a (M, K), b (N, K), c (M, N), row-major: the column-major c' += b a'."""
    cdef float one = 1.0
    sgemm(b"T", b"N", &N, &M, &K, &one, <float *>b, &ldb, <float *>a, &lda, &one, <float *>c, &ldc)


cdef void gemm_f64(int M, int N, int K, const void *a, int lda, const void *b, int ldb, void *c,
                   int ldc) noexcept nogil:
    """c += a b' with a (M, K), b (N, K), c (M, N), row-major: the column-major c' += b a'."""
    cdef double one = 1.0
    dgemm(b"T", b"N", &N, &M, &K, &one, <double *>b, &ldb, <double *>a, &lda, &one, <double *>c, &ldc)


cdef Gemm table = Gemm(gemm_f32, gemm_f64)


def functions():
    """A capsule named ``fastgru.gemm`` with the table of both functions, as the engine takes it."""
    return PyCapsule_New(&table, b"fastgru.gemm", NULL)
