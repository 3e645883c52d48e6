/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_IO_INPUTS_H
#define MGLU_TEST_IO_INPUTS_H

/* Files to be packed while something fails. They are written to the folder of the test, as "in" or under `name`. */

/* A masked layer with a down-projection, another tensor, and metadata: `note` is input_note. */
void write_masked_input(void);
extern const char input_note[];

/* A plain layer in a GGUF file, with texts of its own. */
void write_gguf_input(const char *name);

#endif
