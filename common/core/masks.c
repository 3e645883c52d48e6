/* SPDX-License-Identifier: MIT */
#include <mglu/pack.h>

#include "common/core/convert.h"
#include "common/core/mask_format.h"
#include "common/core/pack.h"

/* Reads one source element: 0 or 1, or -1 where it is neither. */
typedef int read_bit_fn(const unsigned char *row, size_t column);

static int read_byte(const unsigned char *row, size_t column)
{
    return row[column] <= 1 ? row[column] : -1;
}

static int read_bit(const unsigned char *row, size_t column)
{
    return (row[column / 8] >> (column % 8)) & 1;
}

/* logit > 0 by its bits, so that the caller's floating-point environment has no effect on it. */
static int threshold(const unsigned char *row, mglu_dtype dtype, size_t column)
{
    uint32_t bits = mglu_f32_bits(mglu_load_element(row, dtype, column));

    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return -1;
    return bits != 0 && !(bits >> 31);
}

static int read_f32(const unsigned char *row, size_t column)
{
    return threshold(row, MGLU_DTYPE_F32, column);
}

static int read_f16(const unsigned char *row, size_t column)
{
    return threshold(row, MGLU_DTYPE_F16, column);
}

static int read_bf16(const unsigned char *row, size_t column)
{
    return threshold(row, MGLU_DTYPE_BF16, column);
}

/* Reads 32 elements that begin at `from`, as bytes of 0 and 1. Returns 0 where one may be neither. */
typedef int read_group_fn(const unsigned char *from, unsigned char bits[MGLU_GROUP_COLUMNS]);

static int read_bytes(const unsigned char *from, unsigned char bits[MGLU_GROUP_COLUMNS])
{
    unsigned char all = 0;

    for (size_t j = 0; j < MGLU_GROUP_COLUMNS; j++)
        all |= bits[j] = from[j];
    return all <= 1;
}

static int read_f32s(const unsigned char *from, unsigned char bits[MGLU_GROUP_COLUMNS])
{
    int32_t logits[MGLU_GROUP_COLUMNS], nan = 0;

    memcpy(logits, from, sizeof logits);
    for (size_t j = 0; j < MGLU_GROUP_COLUMNS; j++) {
        nan |= (logits[j] & 0x7fffffff) > 0x7f800000;
        bits[j] = logits[j] > 0;
    }
    return !nan;
}

static int read_halves(const unsigned char *from, int16_t infinity, unsigned char bits[MGLU_GROUP_COLUMNS])
{
    int16_t logits[MGLU_GROUP_COLUMNS], nan = 0;

    memcpy(logits, from, sizeof logits);
    for (size_t j = 0; j < MGLU_GROUP_COLUMNS; j++) {
        nan |= (int16_t)((logits[j] & 0x7fff) > infinity);
        bits[j] = logits[j] > 0;
    }
    return !nan;
}

static int read_f16s(const unsigned char *from, unsigned char bits[MGLU_GROUP_COLUMNS])
{
    return read_halves(from, 0x7c00, bits);
}

static int read_bf16s(const unsigned char *from, unsigned char bits[MGLU_GROUP_COLUMNS])
{
    return read_halves(from, 0x7f80, bits);
}

static int read_bits(const unsigned char *from, unsigned char bits[MGLU_GROUP_COLUMNS])
{
    for (size_t j = 0; j < MGLU_GROUP_COLUMNS; j++)
        bits[j] = from[j / 8] >> (j % 8) & 1;
    return 1;
}

/* The product has the lowest bit of byte k at bit 56 + k, and no two of its terms at the same bit. */
static uint32_t gather_bits(const unsigned char bits[MGLU_GROUP_COLUMNS])
{
    uint32_t word = 0;

    for (size_t j = 0; j < MGLU_GROUP_COLUMNS / 8; j++) {
        uint64_t bytes;

        memcpy(&bytes, bits + 8 * j, sizeof bytes);
        word |= (uint32_t)(bytes * 0x0102040810204080u >> 56) << (8 * j);
    }
    return word;
}

static const struct mask_reader {
    read_bit_fn *read;
    read_group_fn *read_group; /* the same for whole groups, faster */
    size_t bits;               /* per element in the source; rows begin at whole bytes */
    const char *fault;
} mask_readers[] = {
    [MGLU_MASK_BYTES] = {read_byte, read_bytes, 8, "is neither 0 nor 1"},
    [MGLU_MASK_LOGITS_F32] = {read_f32, read_f32s, 32, "is NaN"},
    [MGLU_MASK_LOGITS_F16] = {read_f16, read_f16s, 16, "is NaN"},
    [MGLU_MASK_LOGITS_BF16] = {read_bf16, read_bf16s, 16, "is NaN"},
    [MGLU_MASK_BITS] = {read_bit, read_bits, 1, ""},
};

/* Packs one row of one mask; `words` is its first word, the others follow `n_masks` words apart. */
static mglu_status pack_mask_row(const struct mask_reader *reader, const unsigned char *row, size_t h, uint32_t *words,
                                 size_t n_masks, size_t *bad_column)
{
    for (size_t first = 0; first < h; first += MGLU_GROUP_COLUMNS) {
        size_t columns = h - first < MGLU_GROUP_COLUMNS ? h - first : MGLU_GROUP_COLUMNS;
        unsigned char bits[MGLU_GROUP_COLUMNS];
        uint32_t word = 0;

        if (columns == MGLU_GROUP_COLUMNS && reader->read_group(row + first / 8 * reader->bits, bits)) {
            words[first / MGLU_GROUP_COLUMNS * n_masks] = gather_bits(bits);
            continue;
        }
        for (size_t j = 0; j < columns; j++) {
            int bit = reader->read(row, first + j);

            if (bit < 0) {
                *bad_column = first + j;
                return MGLU_ERROR_INVALID_ARGUMENT;
            }
            word |= (uint32_t)bit << j;
        }
        words[first / MGLU_GROUP_COLUMNS * n_masks] = word;
    }
    return MGLU_OK;
}

mglu_status mglu_pack_mask_rows(const mglu_mask_array *source, int32_t n_masks, int64_t d, int64_t h, int64_t first,
                                int64_t count, uint32_t *packed)
{
    const struct mask_reader *reader = &mask_readers[source->form];
    const size_t columns = (size_t)h, masks = (size_t)n_masks, row_bytes = (columns * reader->bits + 7) / 8;
    const size_t row_words = masks * (size_t)mglu_format_groups(columns);
    size_t bad;

    for (size_t i = 0; i < masks; i++)
        for (size_t r = (size_t)first; r < (size_t)(first + count); r++) {
            const unsigned char *row = (const unsigned char *)source->data + (i * (size_t)d + r) * row_bytes;

            if (pack_mask_row(reader, row, columns, packed + r * row_words + i, masks, &bad) != MGLU_OK)
                return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mask %zu [%zu][%zu] %s", i, r, bad, reader->fault);
            if (source->form == MGLU_MASK_BITS && h % 8 != 0 && row[row_bytes - 1] >> (h % 8) != 0)
                return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mask %zu row %zu: a padding bit is set", i, r);
        }
    return MGLU_OK;
}

static mglu_status check_masks(const char *call, int32_t n_masks, int64_t d, int64_t h)
{
    if (!mglu_is_mask_count(n_masks))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: n_masks is %d, must be 1..%d", call, n_masks,
                         MGLU_MAX_MASKS);
    if (!mglu_is_size(d) || !mglu_is_size(h))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: sizes must be 0..%lld", call, (long long)MGLU_MAX_SIZE);
    return MGLU_OK;
}

static mglu_status check_padding(const void *words, int32_t n_masks, int64_t d, int64_t h)
{
    size_t groups = (size_t)mglu_format_groups((uint64_t)h);
    uint32_t valid, word;

    if (h == 0 || h % MGLU_GROUP_COLUMNS == 0)
        return MGLU_OK;
    valid = mglu_format_valid_bits((uint64_t)h, groups - 1);
    for (size_t r = 0; r < (size_t)d; r++)
        for (size_t i = 0; i < (size_t)n_masks; i++) {
            memcpy(&word,
                   (const unsigned char *)words + mglu_packed_mask_offset(n_masks, h, (int64_t)r, h - 1, (int32_t)i),
                   sizeof word);
            if (word & ~valid)
                return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "word [%zu, %zu, %zu] has a padding bit set", r,
                                 groups - 1, i);
        }
    return MGLU_OK;
}

mglu_status mglu_check_mask_words(const void *words, int32_t n_masks, int64_t intermediate_size, int64_t hidden_size)
{
    mglu_status status = check_masks("check", n_masks, intermediate_size, hidden_size);

    if (status != MGLU_OK || intermediate_size == 0 || hidden_size == 0)
        return status;
    if (!words)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "check: masks are NULL");
    return check_padding(words, n_masks, intermediate_size, hidden_size);
}

mglu_status mglu_pack_masks(const mglu_mask_array *source, int32_t n_masks, int64_t intermediate_size,
                            int64_t hidden_size, uint32_t *packed)
{
    mglu_status status = check_masks("pack", n_masks, intermediate_size, hidden_size);

    if (status != MGLU_OK || intermediate_size == 0 || hidden_size == 0)
        return status;
    if (!source || !source->data || !packed)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "pack: masks or target are NULL");
    if ((unsigned)source->form > MGLU_MASK_BITS)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "pack: unknown mask form %d", (int)source->form);
    if (source->form != MGLU_MASK_WORDS)
        return mglu_pack_mask_rows(source, n_masks, intermediate_size, hidden_size, 0, intermediate_size, packed);
    status = check_padding(source->data, n_masks, intermediate_size, hidden_size);
    if (status == MGLU_OK)
        memcpy(packed, source->data, mglu_packed_mask_size(n_masks, intermediate_size, hidden_size));
    return status;
}

mglu_status mglu_unpack_masks(const uint32_t *packed, int32_t n_masks, int64_t intermediate_size, int64_t hidden_size,
                              uint8_t *masks)
{
    mglu_status status = check_masks("unpack", n_masks, intermediate_size, hidden_size);
    uint64_t groups = mglu_format_groups((uint64_t)hidden_size);

    if (status != MGLU_OK || intermediate_size == 0 || hidden_size == 0)
        return status;
    if (!packed || !masks)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "unpack: masks or target are NULL");
    for (uint32_t i = 0; i < (uint32_t)n_masks; i++)
        for (uint64_t r = 0; r < (uint64_t)intermediate_size; r++)
            for (uint64_t c = 0; c < (uint64_t)hidden_size; c++)
                *masks++ = (uint8_t)mglu_format_mask_bit(
                    packed[mglu_format_mask_word(r, c / MGLU_GROUP_COLUMNS, i, groups, (uint32_t)n_masks)], c);
    return MGLU_OK;
}
