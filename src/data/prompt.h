/* SPDX-License-Identifier: MIT */
/* Prompts for generation in the layout of a training: rows without their answers. */
#ifndef NB_PROMPT_H
#define NB_PROMPT_H

#include "data/dataset.h"

/* Ids (nbi_free) of what stands before the answer of a row, given as JSON text; an answer that is
 * there is ignored. `config` says the format (not AUTO); a finished text without response_template
 * is a prompt as a whole. `path` and `line` are for messages. NB_DATA: the row does not have the
 * format; NB_UNSUPPORTED: the format has no prompt (pre-tokenised rows). */
nb_status nb_prompt_of_row(const nb_data_config *config, const nb_tokenizer *tok, const char *path,
                           int64_t line, const char *json, size_t len, int32_t **ids, size_t *n,
                           nb_error *err) NB_MUST_CHECK;
/* The same for one question: the instruction, the prompt, the user's message, or the one column of
 * a template beside the answer's. */
nb_status nb_prompt_of_question(const nb_data_config *config, const nb_tokenizer *tok,
                                const char *question, int32_t **ids, size_t *n,
                                nb_error *err) NB_MUST_CHECK;
/* Encodes a text as a prompt: special 1 with the post-processor, 0 without, -1 with it unless the
 * text spells its own BOS. An eos that the post-processor adds is left out. */
nb_status nb_prompt_of_text(const nb_tokenizer *tok, const char *text, size_t len, int special,
                            int32_t **ids, size_t *n, nb_error *err) NB_MUST_CHECK;
/* The field of a row that holds the answer (in `arena` or constant), NULL when the format has none.
 */
nb_status nbi_prompt_answer_field(const nb_data_config *config, nbi_arena *arena, const char **name,
                                  nb_error *err) NB_MUST_CHECK;

#endif
