/* SPDX-License-Identifier: MIT */
/* TensorBoard event files:
 * output_dir/runs/<date>_<host>/events.out.tfevents.<seconds>.<host>.<pid>.0 with the tags that
 * Hugging Face's Trainer writes. A record is a length (u64), its masked CRC-32C, a protobuf message
 * and its masked CRC-32C, all little-endian (TFRecord). */
#ifndef NBI_TENSORBOARD_H
#define NBI_TENSORBOARD_H

#include "nibble/log.h"
#include "train/history.h"

typedef struct nbi_tensorboard nbi_tensorboard;

/* Starts a file. step > 0: the run goes on after that many updates; its file goes into the newest
 * folder of runs/ and says that what stands there of later steps counts no more. A file that cannot
 * be made is no failure of the run: it is said on `log`, and NULL comes back (as without memory).
 */
nbi_tensorboard *nbi_tensorboard_open(const char *output_dir, int64_t step, const nb_log *log);
/* The numbers of an entry, in the file when this returns. A failing file is said once. NULL is fine
 * here and below. */
void nbi_tensorboard_entry(nbi_tensorboard *t, const nbi_history *h, const nbi_entry *e);
/* A text that TensorBoard shows under its tab of texts. */
void nbi_tensorboard_text(nbi_tensorboard *t, const char *tag, int64_t step, const char *text);
void nbi_tensorboard_close(nbi_tensorboard **t);

/* The tag of a number: eval/... for eval_..., test/... for test_..., train/... for others. NULL for
 * a name that does not fit into buf. */
const char *nbi_tensorboard_tag(const char *name, char buf[96]);
/* CRC-32C (Castagnoli) of n bytes, masked as TFRecord has it. */
uint32_t nbi_tensorboard_crc(const void *p, size_t n);

#endif
