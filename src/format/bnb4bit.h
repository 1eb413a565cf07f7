/* SPDX-License-Identifier: MIT */
/* bitsandbytes 4-bit layers in safetensors files (formats page 2.3). */
#ifndef NB_BNB4BIT_H
#define NB_BNB4BIT_H

#include "base/arena.h"
#include "base/strbuf.h"
#include "format/safetensors.h"
#include "tensor/qtensor.h"

/* True when `weight` ("P.weight") is stored quantised: some "P.weight.quant_state.*" exists. */
bool nb_bnb4bit_present(const nb_safetensors *st, const char *weight);
/* Describes the layer; pointers go into the mapping, except statistics that are unaligned there,
 * which are copied into `keep` (tag SCALES; the arena outlives the tensor). Everything is checked:
 * shapes, sizes, block sizes, code books finite, exactly one quant_state, no unknown suffix. */
nb_status nb_bnb4bit_read(const nb_safetensors *st, const char *weight, nbi_arena *keep,
                          nb_qtensor *out, nb_error *err) NB_MUST_CHECK;
/* The quant_state JSON bytes as bitsandbytes writes them (Python json.dumps spacing and order). */
void nb_bnb4bit_state_json(const nb_qtensor *t, nbi_strbuf *out);

#endif
