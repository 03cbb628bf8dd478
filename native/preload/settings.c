#include "settings.h"

#include <stdlib.h>
#include <string.h>

static _Thread_local const char *used;

void idse_settings_use(const char *block)
{
    used = block;
}

const char *idse_setting(const char *name)
{
    const size_t size = strlen(name);
    const char *value = NULL;
    for (const char *item = used; item && *item && !value; item += strlen(item) + 1) {
        if (strncmp(item, name, size) == 0 && item[size] == '=')
            value = item + size + 1;
    }
    if (!value)
        value = getenv(name);
    return value && *value ? value : NULL;
}
