/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <mglu/mglu.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *command = "mglu";
static bool progress_shown;

void report_command(const char *name)
{
    command = name;
}

void report_clean(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 127)
            *text = '?';
}

static void print_line(const char *format, va_list arguments)
{
    char line[2048];
    vsnprintf(line, sizeof line, format, arguments);
    report_clean(line);
    report_progress_end();
    fprintf(stderr, "%s: %s\n", command, line);
}

bool report_failure(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(format, arguments);
    va_end(arguments);
    return false;
}

void report_warning(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(format, arguments);
    va_end(arguments);
}

bool report_library(const char *what)
{
    if (!what)
        return report_failure("%s", mglu_last_error());
    return report_failure("%s: %s", what, mglu_last_error());
}

void *report_allocate(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory)
        report_failure("out of memory: %zu elements of %zu bytes", count, size);
    return memory;
}

void report_progress(const char *what, size_t done, size_t total)
{
    enum { CELLS = 30 };
    if (!total || !isatty(STDERR_FILENO))
        return;
    const double share = (double)done / (double)total;
    const int filled = (int)(share * CELLS);
    fprintf(stderr, "\r%s [%.*s%*s] %3.0f %%", what, filled, "##############################", CELLS - filled, "",
            100 * share);
    fflush(stderr);
    progress_shown = true;
}

void report_progress_end(void)
{
    if (progress_shown)
        fprintf(stderr, "\r\033[K");
    progress_shown = false;
}

bool report_stdout_failed(void)
{
    return ferror(stdout) != 0;
}

static void check_stdout(void)
{
    const bool lost = ferror(stdout);
    errno = 0;
    if (fclose(stdout) == 0 && !lost)
        return;
    report_failure("standard output: %s", errno ? strerror(errno) : "write failed");
    _exit(EXIT_FAILED);
}

void report_check_stdout(void)
{
    if (atexit(check_stdout) != 0)
        abort();
}
