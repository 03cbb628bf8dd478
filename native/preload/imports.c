#include "imports.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Relocations that are the whole address of a function. */
#if defined(__x86_64__)
enum { SLOT = R_X86_64_JUMP_SLOT, DATA = R_X86_64_GLOB_DAT };
#elif defined(__aarch64__)
enum { SLOT = R_AARCH64_JUMP_SLOT, DATA = R_AARCH64_GLOB_DAT };
#else
enum { SLOT = -1, DATA = -1 };
#endif

/* The parts of a library's dynamic section that lead to its relocations. */
struct tables {
    const char *strings;
    const ElfW(Sym) *symbols;
    struct {
        const ElfW(Rela) *first;
        size_t size;
    } relocations[2];
};

/* glibc has made these addresses absolute, other dynamic linkers leave them relative. */
static const void *place(const struct link_map *map, const ElfW(Dyn) *entry)
{
    const uintptr_t value = entry->d_un.d_ptr, base = map->l_addr;
    return (const void *)(value < base ? base + value : value);
}

static bool read_tables(const struct link_map *map, struct tables *tables)
{
    memset(tables, 0, sizeof(*tables));
    bool known = true;
    for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
        switch (entry->d_tag) {
        case DT_STRTAB:
            tables->strings = place(map, entry);
            break;
        case DT_SYMTAB:
            tables->symbols = place(map, entry);
            break;
        case DT_JMPREL:
            tables->relocations[0].first = place(map, entry);
            break;
        case DT_PLTRELSZ:
            tables->relocations[0].size = entry->d_un.d_val;
            break;
        case DT_RELA:
            tables->relocations[1].first = place(map, entry);
            break;
        case DT_RELASZ:
            tables->relocations[1].size = entry->d_un.d_val;
            break;
        case DT_PLTREL:
            known &= entry->d_un.d_val == DT_RELA;
            break;
        default:
            break;
        }
    }
    return known && tables->strings && tables->symbols;
}

int idse_imports(const void *address, const char *prefix, struct import *found, int most)
{
    Dl_info info;
    struct link_map *map = NULL;
    struct tables tables;
    if (!dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP) || !map ||
        !read_tables(map, &tables))
        return -1;
    int count = 0;
    for (int t = 0; t < 2; t++) {
        const ElfW(Rela) *item = tables.relocations[t].first;
        const ElfW(Rela) *end = item + (item ? tables.relocations[t].size / sizeof(*item) : 0);
        for (; item < end && count < most; item++) {
            const int type = (int)ELF64_R_TYPE(item->r_info);
            if (type != SLOT && type != DATA)
                continue;
            const char *name =
                tables.strings + tables.symbols[ELF64_R_SYM(item->r_info)].st_name;
            if (strncmp(name, prefix, strlen(prefix)) == 0)
                found[count++] = (struct import){
                    name, (_Atomic(void *) *)(uintptr_t)(map->l_addr + item->r_offset)};
        }
    }
    return count;
}

/* What mprotect() would be told to leave a page as it is; -1: it is not mapped. */
static int protection(uintptr_t page)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    int found = -1;
    char line[512];
    while (maps && found < 0 && fgets(line, sizeof(line), maps)) {
        unsigned long begin, end;
        char flags[5];
        if (sscanf(line, "%lx-%lx %4s", &begin, &end, flags) == 3 && begin <= page && page < end)
            found = (flags[0] == 'r' ? PROT_READ : 0) | (flags[1] == 'w' ? PROT_WRITE : 0) |
                    (flags[2] == 'x' ? PROT_EXEC : 0);
    }
    if (maps)
        fclose(maps);
    return found;
}

bool idse_import_set(const struct import *import, void *value)
{
    /* A slot is aligned: it lies in one page. After relocation that page may be read-only. */
    const uintptr_t size = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t page = (uintptr_t)import->slot & ~(size - 1);
    const int before = protection(page);
    if (before < 0)
        return false;
    if (!(before & PROT_WRITE) && mprotect((void *)page, size, before | PROT_WRITE))
        return false;
    atomic_store(import->slot, value);
    if (!(before & PROT_WRITE))
        mprotect((void *)page, size, before);
    return true;
}
