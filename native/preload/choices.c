#include "choices.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "patch.h"

/* Strings that encoders point into, for good. */
struct block {
    struct block *next;
    size_t size;
    char text[];
};

/* What the next encoder of a context is asked for; `text` NULL: it is left alone. */
struct choice {
    struct choice *next;
    const void *context;
    const char *text;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *blocks;
static struct choice *choices;
static const char *usual;

void idse_choices_lock(void)
{
    pthread_mutex_lock(&lock);
}

void idse_choices_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

static struct choice **find_choice(const void *context)
{
    struct choice **link = &choices;
    while (*link && (*link)->context != context)
        link = &(*link)->next;
    return link;
}

static void drop_choice(struct choice **link)
{
    struct choice *choice = *link;
    if (choice) {
        *link = choice->next;
        free(choice);
    }
}

const char *idse_choices_take(const void *context)
{
    pthread_mutex_lock(&lock);
    struct choice **link = find_choice(context);
    const char *text = *link ? (*link)->text : usual;
    drop_choice(link);
    pthread_mutex_unlock(&lock);
    return text;
}

void idse_choices_clear(void)
{
    pthread_mutex_lock(&lock);
    usual = NULL;
    while (choices)
        drop_choice(&choices);
    pthread_mutex_unlock(&lock);
}

static const char *intern(const char *text, size_t size)
{
    for (struct block *block = blocks; block; block = block->next) {
        if (block->size == size && memcmp(block->text, text, size) == 0)
            return block->text;
    }
    struct block *block = calloc(1, sizeof(*block) + size + 1);
    if (!block)
        return NULL;
    memcpy(block->text, text, size);
    block->size = size;
    block->next = blocks;
    blocks = block;
    return block->text;
}

int idse_pyav_default(const char *block, size_t size)
{
    pthread_mutex_lock(&lock);
    const char *text = block ? intern(block, size) : NULL;
    if (text || !block)
        usual = text;
    pthread_mutex_unlock(&lock);
    return text || !block;
}

int idse_pyav_choose(const void *context, const char *block, size_t size)
{
    pthread_mutex_lock(&lock);
    const char *text = block ? intern(block, size) : NULL;
    struct choice **link = find_choice(context);
    if (!*link && (text || !block))
        *link = calloc(1, sizeof(**link));
    const bool done = *link && (text || !block);
    if (done) {
        (*link)->context = context;
        (*link)->text = text;
    }
    pthread_mutex_unlock(&lock);
    return done;
}

int idse_pyav_waits(const void *context)
{
    pthread_mutex_lock(&lock);
    const bool waits = *find_choice(context) != NULL;
    pthread_mutex_unlock(&lock);
    return waits;
}

void idse_pyav_forget(const void *context)
{
    pthread_mutex_lock(&lock);
    drop_choice(find_choice(context));
    pthread_mutex_unlock(&lock);
}
