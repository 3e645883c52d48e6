/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_BROKEN_TABLE_H
#define MGLU_TEST_BROKEN_TABLE_H

/* A part of broken.c: violations in the table itself and in the device list. mglu_backend_load() must refuse them. */

static void set_newer_abi(mglu_backend_fns *fns)
{
    fns->abi = MGLU_BACKEND_ABI + 1;
}

static void set_older_abi(mglu_backend_fns *fns)
{
    fns->abi = MGLU_BACKEND_ABI - 1;
}

static void set_table_size(mglu_backend_fns *fns)
{
    fns->struct_size = offsetof(mglu_backend_fns, queue_notify);
}

static void set_larger_table(mglu_backend_fns *fns)
{
    fns->struct_size += sizeof(void *);
}

/* Not a violation: a plug-in of the time before the library could train. */
static void set_before_training(mglu_backend_fns *fns)
{
    fns->struct_size = offsetof(mglu_backend_fns, train_create);
    memset((char *)fns + fns->struct_size, 0xff, sizeof *fns - fns->struct_size);
}

static mglu_status create_no_training(void *backend, int32_t ordinal, const mglu_train_desc *desc, void **train)
{
    return MGLU_OK;
}

static void set_half_training(mglu_backend_fns *fns)
{
    fns->train_create = create_no_training;
}

/* Not a violation. */
static void set_no_poll(mglu_backend_fns *fns)
{
    fns->queue_poll = NULL;
}

static void set_no_notify(mglu_backend_fns *fns)
{
    fns->queue_notify = NULL;
}

static void set_missing_slot(mglu_backend_fns *fns)
{
    fns->queue_wait = NULL;
}

static mglu_status write_nothing(void *backend, void *queue, void *memory, size_t offset, const void *source,
                                 size_t size)
{
    return MGLU_OK;
}

static void set_half_memory(mglu_backend_fns *fns)
{
    fns->memory_write = write_nothing;
}

static void set_no_name(mglu_backend_fns *fns)
{
    fns->name = NULL;
}

static void set_empty_name(mglu_backend_fns *fns)
{
    fns->name = "";
}

static void set_name_in_two_words(mglu_backend_fns *fns)
{
    fns->name = "My GPU";
}

static void set_reserved_name(mglu_backend_fns *fns)
{
    fns->name = "auto";
}

static void set_name_of_a_choice(mglu_backend_fns *fns)
{
    fns->name = "host";
}

static void set_taken_name(mglu_backend_fns *fns)
{
    fns->name = "cpu";
}

static void set_no_reason(mglu_backend_fns *fns)
{
    fns->unavailable = "";
}

static mglu_status open_not(const mglu_host *host, void **backend)
{
    return host->fail(MGLU_ERROR_DEVICE, "the driver says 42");
}

static void set_open_fails(mglu_backend_fns *fns)
{
    fns->open = open_not;
}

static int32_t count_none(void *backend)
{
    return 0;
}

static void set_no_device(mglu_backend_fns *fns)
{
    fns->device_count = count_none;
}

static int32_t count_less_than_none(void *backend)
{
    return -7;
}

static void set_negative_count(mglu_backend_fns *fns)
{
    fns->device_count = count_less_than_none;
}

static mglu_status fail_in_silence(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    return MGLU_ERROR_DEVICE;
}

static void set_info_fails(mglu_backend_fns *fns)
{
    fns->device_info = fail_in_silence;
}

static mglu_status info_without_name(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    mglu_status status = device_info(backend, ordinal, info);

    info->name = NULL;
    return status;
}

static void set_nameless_device(mglu_backend_fns *fns)
{
    fns->device_info = info_without_name;
}

static mglu_status info_with_rank(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    mglu_status status = device_info(backend, ordinal, info);

    info->rank = MGLU_RANK_NATIVE_GPU + 1;
    return status;
}

static void set_rank(mglu_backend_fns *fns)
{
    fns->device_info = info_with_rank;
}

static mglu_status info_of_the_best(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    mglu_status status = device_info(backend, ordinal, info);

    info->rank = MGLU_RANK_NATIVE_GPU;
    return status;
}

/* No fault. */
static void set_best_rank(mglu_backend_fns *fns)
{
    fns->device_info = info_of_the_best;
}

static mglu_status info_with_type(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    mglu_status status = device_info(backend, ordinal, info);

    info->type = (mglu_device_type)7;
    return status;
}

static void set_type(mglu_backend_fns *fns)
{
    fns->device_info = info_with_type;
}

static mglu_status info_with_own_memory(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    mglu_status status = device_info(backend, ordinal, info);

    info->host_memory = 0;
    return status;
}

static void set_own_memory(mglu_backend_fns *fns)
{
    fns->device_info = info_with_own_memory;
}

#endif
