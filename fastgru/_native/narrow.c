/* Compiled once per row of the dot-product table in setup.py: exports one table, nothing else. */
#include "fastgru/fastgru.h"
#include "fastgru/gemm/narrow.h"

#define FG_QUOTE(x) #x
#define FG_STRING(x) FG_QUOTE(x)

const fg_narrow FG_TABLE = {FG_STRING(FG_DOT), narrow_scratch, narrow_product, narrow_lookup};
