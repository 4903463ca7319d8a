/* As if the disk failed: while the file exists that FAILING_SYNC names, no write-ahead log can be synced.
   Loaded with LD_PRELOAD into a process of its own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(int descriptor)
{
    char link[64], path[PATH_MAX + 1];
    const char *sign = getenv("FAILING_SYNC");
    ssize_t length;

    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, PATH_MAX);
    return length > 4 && !strncmp(path + length - 4, "-wal", 4) && sign && !access(sign, F_OK);
}

static int sync_with(const char *name, int descriptor)
{
    int (*sync)(int) = dlsym(RTLD_NEXT, name);

    if (!fails(descriptor))
        return sync(descriptor);
    errno = EIO;
    return -1;
}

int fsync(int descriptor) { return sync_with("fsync", descriptor); }
int fdatasync(int descriptor) { return sync_with("fdatasync", descriptor); }
