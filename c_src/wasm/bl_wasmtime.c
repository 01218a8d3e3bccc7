/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "bl_library.h"
#include "bl_wasmtime.h"

struct bl_wasmtime wt;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct bl_wasmtime_info info;
static bool loaded;

static enum bl_status refuse(struct bl_error *err, const char *path, const char *why)
{
    bl_fail_unsupported(err, "wasmtime");
    if (err) snprintf(err->text, sizeof err->text, "%.100s: %.50s", path, why);
    return BL_UNSUPPORTED;
}

/* There is no version function. A symbol of the library's own runtime carries the version in its name. Releases of a
 * major differ in the last number only. */
static int find_version(void *library, char version[32])
{
    enum { FIRST = 30, LAST = 120, PATCHES = 40 };
    for (int major = FIRST; major <= LAST; major++)
        for (int patch = 0; patch < PATCHES; patch++) {
            char name[48];
            snprintf(name, sizeof name, "set_vmctx_memory_%d_0_%d", major, patch);
            if (!dlsym(library, name)) continue;
            snprintf(version, 32, "%d.0.%d", major, patch);
            return major;
        }
    snprintf(version, 32, "unknown");
    return 0;
}

static const char *fill(void *library, struct bl_wasmtime *table)
{
#define BL_WASMTIME_FIND(result, name, parameters) \
    if (!(*(void **)&table->name = dlsym(library, #name))) return #name;
    BL_WASMTIME_FUNCTIONS(BL_WASMTIME_FIND)
#undef BL_WASMTIME_FIND
    return NULL;
}

/* Never closed: signal handlers and destructors of threads point into it. */
static enum bl_status open_library(const char *path, bool any_version, struct bl_error *err)
{
    struct bl_wasmtime table;
    if (strlen(path) >= sizeof info.path) return refuse(err, path, "the path is too long");
    struct bl_error failed;
    void *library = bl_library_open(path, &failed);
    if (!library) {
        const size_t skip = strncmp(failed.text, path, strlen(path)) == 0 ? strlen(path) + 2 : 0;
        return refuse(err, path, strlen(failed.text) > skip ? failed.text + skip : "cannot be opened");
    }
    char version[32], why[64];
    const int major = find_version(library, version);
    if ((major < BL_WASMTIME_OLDEST || major > BL_WASMTIME_NEWEST) && !any_version) {
        snprintf(why, sizeof why, "version %s is not %d to %d", version, BL_WASMTIME_OLDEST, BL_WASMTIME_NEWEST);
        dlclose(library);
        return refuse(err, path, why);
    }
    const char *absent = fill(library, &table);
    if (absent) {
        snprintf(why, sizeof why, "has no %s", absent);
        dlclose(library);
        return refuse(err, path, why);
    }
    wt = table;
    info.major = major;
    memcpy(info.version, version, sizeof version);
    memcpy(info.path, path, strlen(path) + 1);
    __atomic_store_n(&loaded, true, __ATOMIC_RELEASE);
    return BL_OK;
}

enum bl_status bl_wasmtime_load(const char *path, bool any_version, struct bl_error *err)
{
    pthread_mutex_lock(&lock);
    const enum bl_status status = loaded ? BL_OK : open_library(path, any_version, err);
    pthread_mutex_unlock(&lock);
    return status;
}

const struct bl_wasmtime_info *bl_wasmtime_loaded(void) { return __atomic_load_n(&loaded, __ATOMIC_ACQUIRE) ? &info : NULL; }
