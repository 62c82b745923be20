/* The products and steps of 64-byte vectors and 32 registers, as AVX-512 tiles them, on vectors that the compiler splits:
 * for tests/kernels/native_check.c on a machine without AVX-512. */
#define FG_BYTES 64
#define FG_REGISTERS 32
#include "fastgru/fastgru.h"
#include "fastgru/gemm/product.h"
#include "fastgru/cells/step.h"

const fg_kernels fg_wide_f32 = {
    .isa = "wide", .lanes = FG_LANES, .item = sizeof(real), .product = product, .steps = steps, .gates = gates,
};
const fg_kernels fg_wide_f64 = {.isa = "wide"};
const fg_narrow fg_wide_plain = {.name = "plain"};
