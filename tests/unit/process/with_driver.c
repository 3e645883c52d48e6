/* SPDX-License-Identifier: MIT */
/*
 * The example backend as one with a driver: its devices do not work after fork(), and a call from another process than
 * the one that opened it ends that process.
 */
#define mglu_backend_entry example_entry
#include "examples/backend/sample.c"
#undef mglu_backend_entry

#include <unistd.h>

static pid_t opener;

static void check_process(void)
{
    if (getpid() != opener)
        _exit(3);
}

static mglu_status open_driver(const mglu_host *host, void **backend)
{
    opener = getpid();
    return open_backend(host, backend);
}

static void close_driver(void *backend)
{
    check_process();
    close_backend(backend);
}

static mglu_status describe(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    const mglu_status status = device_info(backend, ordinal, info);

    info->works_after_fork = 0;
    return status;
}

static void destroy_in_driver(void *backend, void *object)
{
    check_process();
    destroy(backend, object);
}

MGLU_API const mglu_backend_fns *mglu_backend_entry(uint32_t host_abi);

const mglu_backend_fns *mglu_backend_entry(uint32_t host_abi)
{
    static mglu_backend_fns table;

    table = *example_entry(host_abi);
    table.open = open_driver;
    table.close = close_driver;
    table.device_info = describe;
    table.weights_destroy = table.queue_destroy = table.layer_destroy = destroy_in_driver;
    return &table;
}
