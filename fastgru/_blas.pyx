"""Row-major BLAS: the only module that sees `scipy.linalg.cython_blas`.

The engine must not import SciPy unless a model asks for BLAS, so it receives these functions as a
capsule (`functions`) when such a model is built.
"""

from cpython.pycapsule cimport PyCapsule_New
from scipy.linalg.cython_blas cimport dgemm, sgemm

import numpy as np


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


def add_product(a, b, c):
    """c += a b' for C-contiguous float32 or float64 arrays a (M, K), b (N, K), c (M, N), in place.

    Examples
    --------
    >>> c = np.zeros((2, 1))
    >>> add_product(np.ones((2, 3)), np.ones((1, 3)), c)
    >>> c
    array([[3.],
           [3.]])
    """
    cdef double[:, ::1] a64, b64, c64
    cdef float[:, ::1] a32, b32, c32
    if a.shape[1] != b.shape[1] or c.shape != (a.shape[0], b.shape[0]):
        raise ValueError(f"a, b, c must have shapes (M, K), (N, K), (M, N), got {a.shape}, {b.shape}, {c.shape}")
    if a.dtype == np.float64:
        a64, b64, c64 = a, b, c
        gemm_f64(a64.shape[0], b64.shape[0], a64.shape[1], &a64[0, 0], a64.shape[1], &b64[0, 0], b64.shape[1],
                 &c64[0, 0], c64.shape[1])
    else:
        a32, b32, c32 = a, b, c
        gemm_f32(a32.shape[0], b32.shape[0], a32.shape[1], &a32[0, 0], a32.shape[1], &b32[0, 0], b32.shape[1],
                 &c32[0, 0], c32.shape[1])
