/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_FAULTS_SCRIPTS_H
#define MGLU_TEST_FAULTS_SCRIPTS_H

#include <mglu/mglu.h>

/*
 * What applications do with the library, as lists of steps. A step that fails leaves everything that earlier steps made
 * usable: it is called again and must then succeed.
 */

enum { Y_SIZE = 16 * 64, OLD_TEXT_SIZE = 5 };

typedef mglu_status step_fn(void);

struct script {
    const char *name;
    step_fn *const *steps; /* NULL at the end */
    void (*prepare)(void); /* chooses the inputs of the steps; NULL: none */
    const char *output;    /* the file that it writes, in the current folder; NULL: none */
    long kept_by_linker; /* allocations that glibc 2.36 itself loses in a dlopen() without memory, whatever it opens */
    int uses_openmp;     /* whose runtime ends the process where it has no memory or thread (docs/embedding.md) */
};

/* layer_scripts.c, file_scripts.c; no name at the end. */
extern const struct script layer_scripts[], file_scripts[];

/* Frees all that the steps have made. */
void layer_scripts_clean_up(void);
void file_scripts_clean_up(void);
/* Writes the input files of the file scripts into the current folder. */
void file_scripts_write_inputs(void);

/* The result of a script, cleared before each run. */
extern float script_y[Y_SIZE];

/* Steps of layer_scripts.c for layers that come from elsewhere. */
mglu_status step_context(void);
mglu_status step_pick(void);
mglu_status step_queue(void);
mglu_status step_weights(void);
mglu_status step_layer(void);
mglu_status step_workspace(void);
mglu_status step_forward(void);
void script_use_layer(const mglu_weights_desc *weights, const mglu_layer_desc *layer);

#endif
