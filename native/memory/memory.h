/* Zeroed memory for a library in this process that reads some of what it allocates before it writes it.
 *
 * Its entry for memalign() is pointed here; memory is still the C library's, which frees it. */
#ifndef IDSE_MEMORY_H
#define IDSE_MEMORY_H

#define EXPORT __attribute__((visibility("default")))

EXPORT int idse_memory_abi(void);

/* Zeroes what the library that `address` lies in allocates from now on by memalign(). Returns how many
 * entries it has for it, 0 where it has none; -1: they cannot be found or written. Asking twice is no
 * error. */
EXPORT int idse_memory_zero(const void *address);

#endif
