/* SPDX-License-Identifier: MIT */
/* bf16 and f16 conversions, round to nearest even, NaN stays NaN. */
#ifndef NB_HALF_H
#define NB_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t nb_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static inline float nb_f32_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline float nb_bf16_to_f32(uint16_t h)
{
    return nb_f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t nb_f32_to_bf16(float f)
{
    uint32_t u = nb_f32_bits(f);
    uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    uint32_t nan = (u >> 16) | 0x40u;
    return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

/* Nearest bf16 value, as f32. */
static inline float nb_round_bf16(float f)
{
    return nb_bf16_to_f32(nb_f32_to_bf16(f));
}

/* Exact, subnormals included: the exponent is moved by one multiplication with a power of two. */
static inline float nb_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t rest = (uint32_t)(h & 0x7fffu) << 13;
    uint32_t special = (h & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0;
    float v = nb_f32_from_bits(rest) * 0x1p112f;
    return nb_f32_from_bits(sign | (special ? special | rest : nb_f32_bits(v)));
}

static inline uint16_t nb_f32_to_f16(float f)
{
    uint32_t u = nb_f32_bits(f), sign = (u >> 16) & 0x8000u;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | ((u >> 13) & 0x3ffu));
    if (u >= 0x477ff000u) /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00u);
    if (u < 0x38800000u) { /* subnormal: let f32 addition round at the right bit */
        float v = nb_f32_from_bits(u) + 0.5f;
        return (uint16_t)(sign | (nb_f32_bits(v) - 0x3f000000u));
    }
    u += 0xfffu + ((u >> 13) & 1u);
    return (uint16_t)(sign | ((u - 0x38000000u) >> 13));
}

#endif
