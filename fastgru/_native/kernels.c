/* Compiled once per instruction set and element type (see setup.py): exports one table, nothing else. */
#include "fastgru/fastgru.h"
#include "fastgru/product.h"
#include "fastgru/rowwise.h"
#include "fastgru/step.h"

#define FG_QUOTE(x) #x
#define FG_STRING(x) FG_QUOTE(x)

const fg_kernels FG_TABLE = {
    FG_STRING(FG_ISA), FG_LANES, sizeof(real), product, step, gates, activate, softmax, layer_norm, affine, add, multiply,
};
