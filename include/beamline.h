/* SPDX-License-Identifier: Apache-2.0
 *
 * Beamline for C and C++ programs: everything typed, no Erlang terms.
 * Link with -l:libbeamline-<version>.so. See test/runtime/example.c.
 */
#ifndef BEAMLINE_H
#define BEAMLINE_H

#define BL_VERSION "0.1.0"

#include "beamline/core.h"
#include "beamline/crystal.h"
#include "beamline/runtime.h"
#include "beamline/sfv.h"

#endif
