/* Where a loaded library keeps the addresses of the functions that it takes from others. */
#ifndef IDSE_IMPORTS_H
#define IDSE_IMPORTS_H

#include <stdatomic.h>
#include <stdbool.h>

/* One entry of its global offset table, as the dynamic linker has filled it. */
struct import {
    const char *name; /* in the library's own memory */
    _Atomic(void *) *slot;
};

/* Those of the library that `address` lies in whose names begin with `prefix`, `most` at most.
 * Returns their number, -1 where the library cannot be read. */
int idse_imports(const void *address, const char *prefix, struct import *found, int most);

/* Writes one, and leaves its memory as protected as it was. False: the kernel will not have it. */
bool idse_import_set(const struct import *import, void *value);

#endif
