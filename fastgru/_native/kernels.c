/* Compiled once per instruction set and element type (see setup.py): exports one table, nothing else. */
#include "fastgru/fastgru.h"
#include "fastgru/loops/contract.h"
#include "fastgru/loops/map.h"
#include "fastgru/loops/reduce.h"
#include "fastgru/loops/rowwise.h"
#include "fastgru/cells/step.h"

/* float64 goes through BLAS: only the gate arithmetic and the rowwise kernels exist for it. */
#ifdef FG_DOUBLE
#define FG_PACKED(kernel) NULL
#else
#include "fastgru/gemm/product.h"
#define FG_PACKED(kernel) kernel
#endif

#define FG_QUOTE(x) #x
#define FG_STRING(x) FG_QUOTE(x)

const fg_kernels FG_TABLE = {
    FG_STRING(FG_ISA), FG_LANES, sizeof(real), FG_PACKED(product), FG_PACKED(steps), gates, activate, softmax, layer_norm, affine, add, multiply,
    map, lines, reduce, contract, arg_reduce, gather,
};
