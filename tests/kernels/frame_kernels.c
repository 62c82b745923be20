/* The kernels of frame ops and nothing else, which compiles in half the time of fastgru/_native/kernels.c. */
#include "fastgru/loops/contract.h"
#include "fastgru/loops/map.h"
#include "fastgru/loops/reduce.h"

const fg_kernels FG_TABLE = {
    .lanes = FG_LANES,
    .activate = activate,
    .map = map,
    .lines = lines,
    .reduce = reduce,
    .contract = contract,
    .arg_reduce = arg_reduce,
    .gather = gather,
};
