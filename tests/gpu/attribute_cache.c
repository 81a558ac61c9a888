/* Answers cuDeviceGetAttribute from memory after the first time.
 *
 * TensorRT 8.5 seems to call cudaGetDeviceProperties for each kernel that it tries, and that asks the driver for clock rates.
 * On GPUs with a GSP (here: an H200) each such question is a call to the GPU's firmware under one lock for all processes:
 * of 20 builds at a time 18 stood in that lock. None did with this preloaded.
 *
 *     gcc -O2 -shared -fPIC -o attribute_cache.so tests/gpu/attribute_cache.c -ldl
 *     LD_PRELOAD=$PWD/attribute_cache.so make test-gpu ...
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <string.h>

enum { ATTRIBUTES = 256 };
typedef int (*get_attribute)(int *, int, int);
typedef int (*get_address)(const char *, void **, int, unsigned long long);
typedef int (*get_address_v2)(const char *, void **, int, unsigned long long, int *);

static get_attribute real_attribute;
static get_address real_address;
static get_address_v2 real_address_v2;
static _Atomic int known[ATTRIBUTES];
static int values[ATTRIBUTES];

static int attribute(int *value, int number, int device)
{
    int cacheable = device == 0 && number >= 0 && number < ATTRIBUTES;
    if (cacheable && atomic_load(&known[number])) {
        *value = values[number];
        return 0;
    }
    int status = real_attribute(value, number, device);
    if (status == 0 && cacheable) {
        values[number] = *value;
        atomic_store(&known[number], 1);
    }
    return status;
}

static void replace(const char *name, void **found, void *own_address)
{
    if (*found && !strcmp(name, "cuDeviceGetAttribute")) {
        real_attribute = (get_attribute)*found;
        *found = (void *)attribute;
    } else if (*found && own_address && !strcmp(name, "cuGetProcAddress")) {
        real_address = (get_address)*found;
        *found = own_address;
    }
}

static int address(const char *name, void **found, int version, unsigned long long flags)
{
    int status = real_address(name, found, version, flags);
    if (status == 0 && found)
        replace(name, found, (void *)address);
    return status;
}

static int address_v2(const char *name, void **found, int version, unsigned long long flags, int *how)
{
    int status = real_address_v2(name, found, version, flags, how);
    if (status == 0 && found)
        replace(name, found, NULL);
    return status;
}

void *dlsym(void *handle, const char *name)
{
    static void *(*real)(void *, const char *);
    if (!real && !(real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34")))
        real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    void *found = real(handle, name);
    if (found && !strcmp(name, "cuGetProcAddress_v2")) {
        real_address_v2 = (get_address_v2)found;
        return (void *)address_v2;
    }
    replace(name, &found, (void *)address);
    return found;
}
