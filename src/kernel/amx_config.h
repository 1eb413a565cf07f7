/* SPDX-License-Identifier: MIT */
/* All eight tile registers at full size: 16 rows of 64 bytes. */
#ifndef NB_AMX_CONFIG_H
#define NB_AMX_CONFIG_H

#include <immintrin.h>
#include <stdint.h>

enum { AMX_REGISTERS = 8, AMX_ROWS = 16, AMX_ROW_BYTES = 64 };

/* What ldtilecfg reads. */
typedef struct amx_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} amx_config;

static inline void amx_begin(void)
{
    amx_config c = {.palette = 1};
    for (int i = 0; i < AMX_REGISTERS; i++) {
        c.row_bytes[i] = AMX_ROW_BYTES;
        c.rows[i] = AMX_ROWS;
    }
    _tile_loadconfig(&c);
}

static inline void amx_end(void)
{
    _tile_release();
}

#endif
