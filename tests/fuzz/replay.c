/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The main function of a target without a fuzzing engine: runs each file named on the command line, and each file of a
 * folder, once, in the order of their names. Prints the name of each before it runs, so that the last one is at fault.
 */

static void run_file(const char *path, size_t *count)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = NULL;
    size_t size = 0, capacity = 0, got = 0;

    do {
        capacity = 2 * capacity + 4096;
        bytes = realloc(bytes, capacity);
        if (!file || !bytes) {
            perror(path);
            exit(EXIT_FAILURE);
        }
        got = fread(bytes + size, 1, capacity - size, file);
        size += got;
    } while (size == capacity);
    fclose(file);
    fprintf(stderr, "%s\n", path);
    bytes = realloc(bytes, size ? size : 1); /* so that reading behind the input is found */
    if (bytes)
        LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
    ++*count;
}

static void run_folder(const char *path, size_t *count)
{
    struct dirent **entries;
    char name[4096];
    int found = scandir(path, &entries, NULL, alphasort);

    if (found < 0) {
        run_file(path, count);
        return;
    }
    for (int i = 0; i < found; i++) {
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            run_file(name, count);
        free(entries[i]);
    }
    free(entries);
}

int main(int count, char **paths)
{
    size_t inputs = 0;

    for (int i = 1; i < count; i++)
        run_folder(paths[i], &inputs);
    printf("%zu inputs\n", inputs);
    return inputs ? EXIT_SUCCESS : EXIT_FAILURE;
}
