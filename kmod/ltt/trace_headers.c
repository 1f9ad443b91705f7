// SPDX-License-Identifier: GPL-2.0-only
/* Only preprocessed, never compiled: Kbuild makes tracepoints.h from what it then declares. */
#include "trace_headers.h"
