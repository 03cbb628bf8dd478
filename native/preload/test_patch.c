/* Attaching to a library that is there: the system's libavcodec, where it has one; meant to run
 * under ASan and UBSan. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "imports.h"
#include "patch.h"
#include "settings.h"

static int failures;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __func__, __LINE__, #condition);              \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

enum { MOST = 64 };

static void *object(void *(*function)(void))
{
    void *address;
    memcpy(&address, &function, sizeof(address));
    return address;
}

static void *somewhere(void)
{
    return NULL;
}

static void test_settings(void)
{
    static const char block[] = "IDSE_TEST_A=1\0IDSE_TEST_AB=\0";
    CHECK(!idse_setting("IDSE_TEST_A"));
    idse_settings_use(block);
    CHECK(idse_setting("IDSE_TEST_A") && strcmp(idse_setting("IDSE_TEST_A"), "1") == 0);
    CHECK(!idse_setting("IDSE_TEST_AB"));
    CHECK(!idse_setting("IDSE_TEST"));
    CHECK(idse_setting("PATH"));
    idse_settings_use("PATH=\0");
    CHECK(!idse_setting("PATH"));
    idse_settings_use(NULL);
    CHECK(!idse_setting("IDSE_TEST_A"));
}

/* What this program takes from others is found, and each entry holds what is called. */
static void test_imports(void)
{
    struct import found[MOST];
    CHECK(idse_imports(object(somewhere), "dlsym", found, MOST) <= 1);
    CHECK(idse_imports(object(somewhere), "no such function", found, MOST) == 0);
    void *local = found;
    CHECK(idse_imports(local, "", found, MOST) == -1);
    static _Atomic(void *) entry;
    const struct import import = {"entry", &entry};
    CHECK(idse_import_set(&import, local) && atomic_load(&entry) == local);
    const struct import nowhere = {"nowhere", (_Atomic(void *) *)sizeof(void *)};
    CHECK(!idse_import_set(&nowhere, local));
}

static void test_choices(void)
{
    static const char block[] = "IDSE_SOCKET=x\0";
    static const int contexts[2];
    CHECK(!idse_pyav_waits(&contexts[0]));
    CHECK(idse_pyav_choose(&contexts[0], block, sizeof(block)));
    CHECK(idse_pyav_choose(&contexts[0], NULL, 0));
    CHECK(idse_pyav_choose(&contexts[1], block, sizeof(block)));
    CHECK(idse_pyav_waits(&contexts[0]) && idse_pyav_waits(&contexts[1]));
    idse_pyav_forget(&contexts[0]);
    CHECK(!idse_pyav_waits(&contexts[0]) && idse_pyav_waits(&contexts[1]));
    CHECK(idse_pyav_default(block, sizeof(block)));
    idse_pyav_detach();
    CHECK(!idse_pyav_waits(&contexts[1]));
    static struct idse_patched known[PYAV_ENCODERS];
    CHECK(idse_pyav_encoders(known) == 0);
}

static void test_attaching(void)
{
    char why[200];
    CHECK(idse_pyav_attach("libno-such-library.so", why, sizeof(why)) && strlen(why) > 0);
    CHECK(idse_pyav_attach("libm.so.6", why, sizeof(why)) && strlen(why) > 0);
    static const char *const NAMES[] = {"libavcodec.so.61", "libavcodec.so.60", "libavcodec.so.59"};
    const char *name = NULL;
    void *avcodec = NULL;
    for (int i = 0; i < 3 && !avcodec; i++) {
        name = NAMES[i];
        avcodec = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
    if (!avcodec) {
        puts("no libavcodec: attaching is not tested");
        return;
    }
    struct import found[MOST];
    void *before[MOST], *get_class = dlsym(avcodec, "avcodec_get_class");
    const int count = idse_imports(get_class, "x264_", found, MOST);
    CHECK(count > 5);
    for (int i = 0; i < count; i++)
        before[i] = atomic_load(found[i].slot);
    for (int round = 0; round < 2; round++) {
        CHECK(idse_pyav_attach(name, why, sizeof(why)) == 0 && !*why);
        CHECK(idse_pyav_attach(name, why, sizeof(why)) == 0);
        CHECK(idse_pyav_class() != NULL);
        int changed = 0;
        for (int i = 0; i < count; i++)
            changed += atomic_load(found[i].slot) != before[i];
        CHECK(changed == 5);
        idse_pyav_detach();
        for (int i = 0; i < count; i++)
            CHECK(atomic_load(found[i].slot) == before[i]);
    }
    /* Somebody else's hook stays, and is told of. */
    for (int i = 0; i < count; i++) {
        if (strcmp(found[i].name, "x264_encoder_close") != 0)
            continue;
        idse_import_set(&found[i], object(somewhere));
        CHECK(idse_pyav_attach(name, why, sizeof(why)) && strstr(why, "already"));
        CHECK(atomic_load(found[i].slot) == object(somewhere));
        idse_import_set(&found[i], before[i]);
    }
}

int main(void)
{
    test_settings();
    test_imports();
    test_choices();
    test_attaching();
    return failures != 0;
}
