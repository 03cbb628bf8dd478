#include "memory.h"

#include "imports.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    MOST = 8,
    SMALL = 1 << 18, /* bytes that are sooner written than given back */
};

/* Large blocks are given back to the kernel, page by page, and come again as zeros when they are
 * touched, if they are: libx264 leaves much of its padding alone, and asks for huge pages first. */
static void *zeroed(size_t alignment, size_t size)
{
    void *block;
    if (posix_memalign(&block, alignment, size))
        return NULL;
    char *memory = block;
    if (size < SMALL)
        return memset(memory, 0, size);
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)memory;
    const size_t head = (size_t)(-start & (page - 1)), whole = (size - head) & ~(page - 1);
    if (madvise(memory + head, whole, MADV_DONTNEED))
        return memset(memory, 0, size);
    memset(memory, 0, head);
    memset(memory + head + whole, 0, size - head - whole);
    return memory;
}

int idse_memory_abi(void)
{
    return 1;
}

int idse_memory_zero(const void *address)
{
    struct import found[MOST];
    const int count = idse_imports(address, "memalign", found, MOST);
    /* A function pointer goes through an integer: ISO C has no other way to an address. */
    void *const ours = (void *)(uintptr_t)zeroed;
    for (int i = 0; i < count; i++)
        if (atomic_load(found[i].slot) != ours && !idse_import_set(&found[i], ours))
            return -1;
    return count;
}
