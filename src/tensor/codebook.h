/* SPDX-License-Identifier: MIT */
/* The code books, once: NF4, FP4 and the dynamic 8-bit maps (Dettmers et al., "8-bit optimizers via
 * block-wise quantization", 2022, and "QLoRA", 2023; values as bitsandbytes stores them). */
#ifndef NB_CODEBOOK_H
#define NB_CODEBOOK_H

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

#endif
