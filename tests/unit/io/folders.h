/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_IO_FOLDERS_H
#define MGLU_TEST_IO_FOLDERS_H

#include "support.h"

/* Folders with a model in shards: one is the scratch folder, another "out" in it. */

#define INDEX "model.safetensors.index.json"

/* cmocka fixtures: both folders. */
int make_folders(void **state);
int remove_folders(void **state);

/* Path of the scratch folder. */
const char *scratch_folder(void);

void write_text(const char *name, const char *text);

/* The tensors of the shards a.safetensors and b.safetensors. */
extern const struct part first_shard[2], second_shard[2];
/* Both shards and their index, in the scratch folder. */
void write_shards(void);
/* The same tensors in one file. */
void write_whole(const char *path);

mglu_file *open_folder(const char *path, uint32_t flags);

/* Both have the same tensors, wherever those are. */
void assert_same_tensors(const mglu_file *got, const mglu_file *want);

#endif
