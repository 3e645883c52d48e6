/* SPDX-License-Identifier: MIT */
#include "common/io/gguf_names.h"

#include <stddef.h>
#include <string.h>

static const char *const part_names[MGLU_IO_GGUF_GROUPS][MGLU_IO_GGUF_STEMS] = {
    [MGLU_IO_GGUF_DENSE] = {"ffn_gate", "ffn_up", "ffn_down"},
    [MGLU_IO_GGUF_SHARED] = {"ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"},
    [MGLU_IO_GGUF_EXPERTS] = {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"},
};

static const char *const inner_names[MGLU_IO_GGUF_STEMS] = {"gate_proj", "up_proj", "down_proj"};

static const char masked_name[] = "ffn_mglu";

static const char *const leaves[] = {"weight", "bias"};
static const char *const masked_leaves[] = {"weight", "mask", "gate_bias", "value_bias", "router"};

/* Norms before and after a layer, and the routing of experts. */
static const char *const others[] = {"ffn_norm", "ffn_post_norm", "ffn_norm_exps", "ffn_gate_inp",
                                     "ffn_gate_inp_shexp"};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static int is_one_of(const char *text, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], text) == 0)
            return 1;
    return 0;
}

/* The text after `head` and a dot, or NULL where `text` begins in another way. */
static const char *after(const char *text, const char *head)
{
    size_t length = strlen(head);

    return strncmp(text, head, length) == 0 && text[length] == '.' ? text + length + 1 : NULL;
}

/* Copies "blk.7" and returns what follows its dot; NULL for a name of another form. */
static const char *take_block(const char *name, char *block)
{
    static const char head[] = "blk.";
    size_t begin = sizeof head - 1, length;

    if (strncmp(name, head, begin) != 0)
        return NULL;
    length = begin + strspn(name + begin, "0123456789");
    if (length == begin || length >= MGLU_IO_GGUF_BLOCK_TEXT || name[length] != '.')
        return NULL;
    memcpy(block, name, length);
    block[length] = '\0';
    return name + length + 1;
}

static int take_part(const char *rest, struct mglu_io_gguf_name *parsed)
{
    for (int group = 0; group < MGLU_IO_GGUF_GROUPS; group++)
        for (int stem = 0; stem < MGLU_IO_GGUF_STEMS; stem++) {
            parsed->leaf = after(rest, part_names[group][stem]);
            if (!parsed->leaf)
                continue;
            parsed->group = (enum mglu_io_gguf_group)group;
            parsed->stem = (enum mglu_io_gguf_stem)stem;
            return is_one_of(parsed->leaf, leaves, COUNT(leaves));
        }
    parsed->leaf = after(rest, masked_name);
    parsed->group = MGLU_IO_GGUF_DENSE;
    parsed->stem = MGLU_IO_GGUF_MASKED;
    return parsed->leaf && is_one_of(parsed->leaf, masked_leaves, COUNT(masked_leaves));
}

enum mglu_io_gguf_kind mglu_io_gguf_parse(const char *name, struct mglu_io_gguf_name *parsed)
{
    const char *rest = take_block(name, parsed->block);

    if (!rest || strncmp(rest, "ffn_", 4) != 0)
        return MGLU_IO_GGUF_OTHER;
    for (size_t i = 0; i < COUNT(others); i++)
        if (after(rest, others[i]))
            return MGLU_IO_GGUF_OTHER;
    return take_part(rest, parsed) ? MGLU_IO_GGUF_PART : MGLU_IO_GGUF_UNKNOWN;
}

const char *mglu_io_gguf_part(enum mglu_io_gguf_group group, enum mglu_io_gguf_stem stem)
{
    return stem == MGLU_IO_GGUF_MASKED ? masked_name : part_names[group][stem];
}

const char *mglu_io_gguf_inner(enum mglu_io_gguf_stem stem)
{
    return inner_names[stem == MGLU_IO_GGUF_MASKED ? MGLU_IO_GGUF_UP : stem];
}
