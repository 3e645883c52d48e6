/* SPDX-License-Identifier: MIT */
/*
 * A peer of mglu-bench on an NVIDIA GPU; bench/peers/README.md has the protocol. It measures with events:
 *
 *   copy:f16:N   a copy within the device of as many bytes as a layer with N masks reads (0: a plain GLU)
 *   glu:f16:0    the two products of a plain GLU by cuBLAS, without activation
 *   fused:f16:0  the same as one product with the matrices on top of each other
 *
 * The driver and cuBLAS are opened at run time; without cuBLAS the copies are measured.
 */
#include "gpu.h"

#include <cublas_v2.h>

#include <dlfcn.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CASES = 32, SAMPLE_US = 5000, MOST_CALLS = 10000, FILL_BYTES = 16 << 20 };

/* The functions used here are the same in these versions. */
static const char *const cublas_libraries[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so.11"};

static struct {
    cublasStatus_t (*create)(cublasHandle_t *handle);
    cublasStatus_t (*set_stream)(cublasHandle_t handle, cudaStream_t stream);
    cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void *,
                           const void *, cudaDataType, int, const void *, cudaDataType, int, const void *, void *,
                           cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t);
    cublasHandle_t handle;
    const char *library; /* NULL: there is none */
} cublas;

static struct gpu gpu;

/* The open problem: the copies of a case rotate over the buffer. */
struct bench_case {
    char variant[16];
    int masks;
    size_t bytes; /* that one call reads */
    size_t copies, next;
    int calls;
};

static struct {
    int64_t d, h, batch;
    CUdeviceptr weights, x, y;
    size_t size;
    struct bench_case cases[MOST_CASES];
    int count;
} opened;

static int answer_error(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("error ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
    return 0;
}

static int succeed(int done)
{
    return done || answer_error("%s", gpu.failure);
}

static int find(void *library, const char *name, void *function)
{
    void *address = dlsym(library, name);

    memcpy(function, &address, sizeof address);
    return address != NULL;
}

static int open_cublas(const char *name)
{
    void *library = dlopen(name, RTLD_NOW);

    return library && find(library, "cublasCreate_v2", &cublas.create) &&
           find(library, "cublasSetStream_v2", &cublas.set_stream) && find(library, "cublasGemmEx", &cublas.gemm) &&
           cublas.create(&cublas.handle) == CUBLAS_STATUS_SUCCESS &&
           cublas.set_stream(cublas.handle, gpu.stream) == CUBLAS_STATUS_SUCCESS;
}

static void start_cublas(void)
{
    for (size_t i = 0; i < sizeof cublas_libraries / sizeof cublas_libraries[0] && !cublas.library; i++)
        if (open_cublas(cublas_libraries[i]))
            cublas.library = cublas_libraries[i];
}

/* Random halves between -1 and 1: finite, and never zero. */
static int fill(CUdeviceptr target, size_t bytes)
{
    uint16_t *halves = malloc(FILL_BYTES);
    uint32_t seed = 1;
    int done = halves != NULL;

    for (size_t i = 0; done && i < FILL_BYTES / sizeof *halves; i++) {
        seed = seed * 1664525u + 1013904223u;
        halves[i] = (uint16_t)(0x2000 | (seed >> 16 & 0x9bff));
    }
    for (size_t at = 0; done && at < bytes; at += FILL_BYTES)
        done = succeed(gpu_succeed(
            &gpu, gpu.driver.memcpy_htod(target + at, halves, bytes - at < FILL_BYTES ? bytes - at : FILL_BYTES),
            "cuMemcpyHtoD"));
    free(halves);
    return done;
}

/* y = x W^T for `rows` rows of W. */
static int multiply(CUdeviceptr weights, int64_t rows, CUdeviceptr y)
{
    const float one = 1, zero = 0;

    return cublas.gemm(cublas.handle, CUBLAS_OP_T, CUBLAS_OP_N, (int)rows, (int)opened.batch, (int)opened.h, &one,
                       (const void *)(uintptr_t)weights, CUDA_R_16F, (int)opened.h, (const void *)(uintptr_t)opened.x,
                       CUDA_R_16F, (int)opened.h, &zero, (void *)(uintptr_t)y, CUDA_R_16F, (int)rows,
                       CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS ||
           answer_error("cublasGemmEx fails");
}

static int call(struct bench_case *measured)
{
    CUdeviceptr weights = opened.weights + measured->next * measured->bytes;
    size_t matrix = (size_t)(opened.d * opened.h) * 2, half = measured->bytes / 2;

    measured->next = (measured->next + 1) % measured->copies;
    if (!strcmp(measured->variant, "copy"))
        return succeed(gpu_succeed(&gpu, gpu.driver.memcpy_dtod_async(weights, weights + half, half, gpu.stream),
                                   "cuMemcpyDtoDAsync"));
    if (!strcmp(measured->variant, "fused"))
        return multiply(weights, 2 * opened.d, opened.y);
    return multiply(weights, opened.d, opened.y) &&
           multiply(weights + matrix, opened.d, opened.y + (size_t)(opened.d * opened.batch) * 2);
}

/* Microseconds of a call, the mean of `calls`; negative when it failed. */
static double time_calls(struct bench_case *measured, int calls)
{
    double seconds;
    int done = call(measured) && succeed(gpu_mark_begin(&gpu));

    for (int i = 0; done && i < calls; i++)
        done = call(measured);
    if (!done || !succeed(gpu_mark_end(&gpu)))
        return -1;
    seconds = gpu_seconds(&gpu);
    return succeed(seconds >= 0) ? 1e6 * seconds / calls : -1;
}

static void add_case(const char *variant, int masks, size_t cold_bytes)
{
    struct bench_case *added = &opened.cases[opened.count];
    size_t weights = (size_t)(opened.d * opened.h);

    if (opened.count == MOST_CASES)
        return;
    *added = (struct bench_case){.masks = masks, .bytes = masks ? weights * (size_t)(16 + masks) / 8 : weights * 4};
    snprintf(added->variant, sizeof added->variant, "%s", variant);
    added->bytes = added->bytes / 512 * 512; /* so that all copies have the same alignment */
    if (strcmp(variant, "copy") != 0)
        added->bytes = weights * 4;
    added->copies = cold_bytes / added->bytes + 1;
    if (added->copies * added->bytes > opened.size)
        opened.size = added->copies * added->bytes;
    opened.count++;
}

static int take(CUdeviceptr *memory, size_t bytes)
{
    return succeed(gpu_succeed(&gpu, gpu.driver.mem_alloc(memory, bytes), "cuMemAlloc"));
}

static int allocate(void)
{
    size_t tokens = (size_t)opened.batch;

    return take(&opened.weights, opened.size) && take(&opened.x, tokens * (size_t)opened.h * 2) &&
           take(&opened.y, tokens * (size_t)opened.d * 4) && fill(opened.weights, opened.size) &&
           fill(opened.x, tokens * (size_t)opened.h * 2);
}

static void close_cases(void)
{
    const CUdeviceptr memory[] = {opened.weights, opened.x, opened.y};

    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        if (memory[i])
            gpu.driver.mem_free(memory[i]);
    memset(&opened, 0, sizeof opened);
}

static int prepare(struct bench_case *prepared)
{
    double us = time_calls(prepared, 1);

    if (us < 0)
        return 0;
    prepared->calls = us * MOST_CALLS > SAMPLE_US ? (int)ceil(SAMPLE_US / us) : MOST_CALLS;
    return 1;
}

/* open OP D H BATCH COLD_BYTES MASKS */
static int open_cases(const char *line)
{
    char op[16], masks[128], *rest = masks;
    size_t cold_bytes;

    close_cases();
    if (sscanf(line, "open %15s %" SCNd64 " %" SCNd64 " %" SCNd64 " %zu %127s", op, &opened.d, &opened.h, &opened.batch,
               &cold_bytes, masks) != 6)
        return answer_error("invalid request");
    if (strcmp(op, "projection") != 0)
        return answer_error("measures projections only");
    add_case("copy", 0, cold_bytes);
    for (char *word = strtok_r(rest, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
        add_case("copy", atoi(word), cold_bytes);
    if (cublas.library) {
        add_case("glu", 0, cold_bytes);
        add_case("fused", 0, cold_bytes);
    }
    if (!allocate())
        return 0;
    for (int i = 0; i < opened.count; i++)
        if (!prepare(&opened.cases[i]))
            return 0;
    fputs("cases", stdout);
    for (int i = 0; i < opened.count; i++)
        printf(" %s:f16:%d", opened.cases[i].variant, opened.cases[i].masks);
    putchar('\n');
    return 1;
}

static int run_case(const char *line)
{
    char variant[16];
    int masks;
    double us;

    if (sscanf(line, "run %15[^:]:f16:%d", variant, &masks) != 2)
        return answer_error("invalid request");
    for (int i = 0; i < opened.count; i++) {
        struct bench_case *measured = &opened.cases[i];

        if (strcmp(measured->variant, variant) != 0 || measured->masks != masks)
            continue;
        us = time_calls(measured, measured->calls);
        return us >= 0 && printf("us %.3f\n", us) > 0;
    }
    return answer_error("no such case");
}

int main(void)
{
    char name[128] = "", line[512];

    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    if (!succeed(gpu_open(&gpu, 0)) ||
        !succeed(gpu_succeed(&gpu, gpu.driver.device_get_name(name, (int)sizeof name, gpu.device), "cuDeviceGetName")))
        return EXIT_FAILURE;
    start_cublas();
    printf("ready %s, %s\n", name, cublas.library ? cublas.library : "no cuBLAS");
    while (fgets(line, sizeof line, stdin)) {
        if (!strncmp(line, "open ", 5))
            open_cases(line);
        else if (!strncmp(line, "run ", 4))
            run_case(line);
        else
            answer_error("unknown request");
    }
    close_cases();
    gpu_close(&gpu);
    return EXIT_SUCCESS;
}
