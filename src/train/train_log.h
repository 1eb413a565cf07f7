/* SPDX-License-Identifier: MIT */
/* train_log.jsonl: one JSON object a line, ASCII, each line in the file as soon as it is known. */
#ifndef NBI_TRAIN_LOG_H
#define NBI_TRAIN_LOG_H

#include "base/json.h"
#include "nibble/log.h"

typedef struct nbi_train_log nbi_train_log;

/* Starts dir/train_log.jsonl anew. */
nb_status nbi_train_log_open(nbi_train_log **out, const char *dir, const nb_log *log,
                             nb_error *err) NB_MUST_CHECK;
void nbi_train_log_close(nbi_train_log **l);
/* Begins a line; members follow through the writer. */
nbi_json_writer *nbi_train_log_begin(nbi_train_log *l);
/* Writes the line. A log that cannot be written does not stop a training: said once, and the file
 * keeps whole lines only. */
void nbi_train_log_end(nbi_train_log *l);

#endif
