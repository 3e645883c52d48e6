/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

/*
 * Intel AMX: whether the machine has it, and whether this process may use it. Compiled without its flags.
 *
 * Linux lets a process use tiles only after it has asked. From then on sigaltstack() refuses, in all of its threads,
 * alternate signal stacks that can't hold a signal frame with tiles (12 KiB; SIGSTKSZ is 8 KiB), and while a thread has
 * such a stack already, the permission is refused. So the library asks only for a plan, of a layer or of training, that
 * uses tiles, and once, so that all plans of a process have the same answer. A forked child has its parent's
 * permission.
 */

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define IS_BLIND_TO_TILES /* it would report all that tiles have stored as uninitialised */
#endif
#endif

#if defined(MGLU_CPU_AMX) && defined(__linux__) && !defined(IS_BLIND_TO_TILES)

#include <cpuid.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <asm/prctl.h> has them from Linux 5.16 on. */
enum { GET_SUPPORTED = 0x1021, ASK_PERMISSION = 0x1023, TILE_DATA = 18 };

/* Of CPUID leaf 7. */
enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, AMX_INT8 = 1 << 25 };

enum { UNKNOWN, ABSENT, NOT_ASKED, PERMITTED, REFUSED };

static atomic_int state = UNKNOWN;

/* The register XCR0: the system saves the configuration of tiles and their data. */
static int saves_tiles(void)
{
    const uint32_t both = 3u << 17;
    uint32_t low, high;

    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & both) == both;
}

static int can_be_permitted(void)
{
    unsigned long long supported = 0;

    return syscall(SYS_arch_prctl, GET_SUPPORTED, &supported) == 0 && supported >> TILE_DATA & 1;
}

static int is_present(void)
{
    const unsigned int all = AMX_BF16 | AMX_TILE | AMX_INT8;
    unsigned int a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && c & bit_OSXSAVE && saves_tiles() &&
           __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & all) == all && can_be_permitted();
}

/* The state of the process, changed only by the first caller that finds it at `from`. */
static int change(int from, int to)
{
    return atomic_compare_exchange_strong(&state, &from, to) ? to : from;
}

static int known(void)
{
    const int now = atomic_load_explicit(&state, memory_order_relaxed);

    return now == UNKNOWN ? change(UNKNOWN, is_present() ? NOT_ASKED : ABSENT) : now;
}

int mglu_cpu_has_tiles(void)
{
    const int now = known();

    return now == NOT_ASKED || now == PERMITTED;
}

int mglu_cpu_may_use_tiles(void)
{
    int now = known();

    if (now == NOT_ASKED)
        now = change(NOT_ASKED, syscall(SYS_arch_prctl, ASK_PERMISSION, TILE_DATA) == 0 ? PERMITTED : REFUSED);
    return now == PERMITTED;
}

#else

int mglu_cpu_has_tiles(void)
{
    return 0;
}

int mglu_cpu_may_use_tiles(void)
{
    return 0;
}

#endif
