/* The body of recurrent layers that show gates and states, beside those of ops.c. */
#include "fastgru/ops/traced.h"

void fg_execute_traced(const fg_instruction *ins, fg_run *run) { run_traced(ins, run); }
