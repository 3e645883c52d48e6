/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

/*
 * A process with two libraries of different soversions, each behind a library that uses it. two_majors OLD NEW: the
 * names of their files.
 */

int consumer_old(void), consumer_new(void);
const char *library_old(void), *library_new(void);

static int ends_in(const char *text, const char *end)
{
    const size_t length = strlen(text), tail = strlen(end);

    return length >= tail && strcmp(text + length - tail, end) == 0;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    printf("%s\n%s\n", library_old(), library_new());
    if (!ends_in(library_old(), argv[1]) || !ends_in(library_new(), argv[2]))
        return 1;
    return consumer_old() || consumer_new() || consumer_old();
}
