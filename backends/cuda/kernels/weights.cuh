/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_WEIGHTS_CUH
#define MGLU_CUDA_WEIGHTS_CUH

/* A lane's 32 weights of a block, for each dtype. Elements count as in tile_layout.h. */

#include "backends/cuda/kernels/elements.cuh"
#include "backends/cuda/kernels/tile_layout.h"

/* A block lies in device memory, at an address, or has been copied to shared memory. */
MGLU_DEVICE uint4 load_chunk(uint64_t plane, uint32_t index)
{
    return load_stream16((const uint4 *)plane + index);
}

MGLU_DEVICE uint4 load_chunk(const char *plane, uint32_t index)
{
    return ((const uint4 *)plane)[index];
}

MGLU_DEVICE uint32_t load_word(uint64_t plane, uint32_t index)
{
    return load_stream4((const uint32_t *)plane + index);
}

MGLU_DEVICE uint32_t load_word(const char *plane, uint32_t index)
{
    return ((const uint32_t *)plane)[index];
}

/* The bits as they lie in memory, BITS for each weight. */
template <int BITS> struct lane_bits {
    static constexpr int PER_WORD = 32 / BITS;
    static constexpr int CHUNKS = MGLU_TILE_LANE_WEIGHTS / PER_WORD / 4;
    uint4 chunks[CHUNKS];

    template <class PLANE> MGLU_METHOD void load(PLANE plane, uint32_t lane)
    {
        MGLU_UNROLL
        for (int i = 0; i < CHUNKS; i++)
            chunks[i] = load_chunk(plane, i * MGLU_TILE_LANES + lane);
    }

    MGLU_METHOD uint32_t word(int element) const
    {
        return word_of(chunks[element / PER_WORD / 4], element / PER_WORD % 4);
    }

    /* The element's bits; the bits above them belong to the following elements. */
    MGLU_METHOD uint32_t bits(int element) const
    {
        return word(element) >> (element % PER_WORD * BITS);
    }
};

/* With the two scales of a lane, which has two rows and columns of one group. */
template <int BITS> struct lane_scaled : lane_bits<BITS> {
    float scales[2];

    template <class PLANE> MGLU_METHOD void load(PLANE plane, uint32_t lane)
    {
        constexpr size_t SCALES = lane_bits<BITS>::CHUNKS * MGLU_TILE_LANES * sizeof(uint4);
        uint32_t pair = load_word(plane + SCALES, lane % 4 / 2 * 8 + lane / 4);

        lane_bits<BITS>::load(plane, lane);
        scales[0] = f16_to_f32(half_of(pair, 0));
        scales[1] = f16_to_f32(half_of(pair, 1));
    }

    /* The scale of an element's row. */
    MGLU_METHOD float scale(int element) const
    {
        return scales[element / 2 % 2];
    }
};

template <mglu_dtype DTYPE> struct lane_weights;

template <> struct lane_weights<MGLU_DTYPE_F32> : lane_bits<32> {
    MGLU_METHOD float at(int element) const
    {
        return __uint_as_float(bits(element));
    }
};

template <> struct lane_weights<MGLU_DTYPE_F16> : lane_bits<16> {
    MGLU_METHOD float at(int element) const
    {
        return f16_to_f32((uint16_t)bits(element));
    }
};

template <> struct lane_weights<MGLU_DTYPE_BF16> : lane_bits<16> {
    MGLU_METHOD float at(int element) const
    {
        return bf16_to_f32((uint16_t)bits(element));
    }
};

/* A scale has 11 bits and a quant 8 at most, so that their product is exact. */
template <> struct lane_weights<MGLU_DTYPE_Q8_0> : lane_scaled<8> {
    MGLU_METHOD float at(int element) const
    {
        return (float)(int8_t)bits(element) * scale(element);
    }
};

template <> struct lane_weights<MGLU_DTYPE_Q4_0> : lane_scaled<4> {
    MGLU_METHOD float at(int element) const
    {
        return (float)((int)(bits(element) & 15) - 8) * scale(element);
    }
};

#endif
