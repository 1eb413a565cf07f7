/* SPDX-License-Identifier: MIT */
/* The code books, once: NF4, FP4 and the dynamic 8-bit maps (Dettmers et al., "8-bit optimizers via
 * block-wise quantization", 2022, and "QLoRA", 2023; values as bitsandbytes stores them). */
#ifndef NB_CODEBOOK_H
#define NB_CODEBOOK_H

#include <stdbool.h>
#include <stdint.h>

extern const float nb_book_nf4[16];
extern const float nb_book_fp4[16]; /* by code; not sorted */
/* Thresholds of the sorted book, f32 midpoints, and the code of each sorted position. */
extern const float nb_thresholds_nf4[15];
extern const float nb_thresholds_fp4[15];
extern const uint8_t nb_sorted_code_nf4[16];
extern const uint8_t nb_sorted_code_fp4[16];
/* The signed dynamic map, 256 ascending values (see formats: means of neighbours of linspace(0.1,
 * 1) scaled by powers of ten, plus 0 and 1). */
void nb_dynamic_map_signed(float map[256]);
/* The unsigned one: 0, the same with twice as many fractions of each power, 1. */
void nb_dynamic_map_unsigned(float map[256]);

/* The same maps as arithmetic. Their entries >= 0, numbered from 0, form nine groups: the value 0,
 * seven powers of ten with n = 1 or 2, 4, ... equally spaced entries each, and 1. Entry i of group
 * g is from[g] + step[g] * i, off the map by at most two roundings. A value belongs to the group
 * whose number is that of the bounds at or below it. */
enum { NB_DYNAMIC8_GROUPS = 9 };
typedef struct nb_dynamic8 {
    float value[256];                    /* by code */
    float bound[NB_DYNAMIC8_GROUPS - 1]; /* halfway to a group's first entry */
    float from[16], step[16], per[16];   /* per: 1 / step; 0 in groups of one entry */
    float range[16];                     /* n * step */
    float first[16];                     /* number of a group's first entry */
    float last[16];                      /* number of its last one */
} nb_dynamic8;
void nb_dynamic8_init(nb_dynamic8 *t, bool is_signed);

#endif
