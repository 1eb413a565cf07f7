/* SPDX-License-Identifier: MIT */
/* Entries for the table of decoders in decoder.c. */
#ifndef NBI_DECODER_WORDS_H
#define NBI_DECODER_WORDS_H

#include "text/component.h"

nb_status nbi_load_wordpiece(nbi_load *l, const nbi_json *v, const void **param);
nb_status nbi_decode_wordpiece(const void *param, const nbi_strings *in, nbi_strings *out,
                               nb_error *err);
nb_status nbi_load_ctc(nbi_load *l, const nbi_json *v, const void **param);
nb_status nbi_decode_ctc(const void *param, const nbi_strings *in, nbi_strings *out, nb_error *err);
nb_status nbi_load_bpe(nbi_load *l, const nbi_json *v, const void **param);
nb_status nbi_decode_bpe(const void *param, const nbi_strings *in, nbi_strings *out, nb_error *err);

#endif
