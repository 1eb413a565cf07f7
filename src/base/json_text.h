/* SPDX-License-Identifier: MIT */
/* Reports that exist as JSON and as text for people, made from one tree so that they agree. */
#ifndef NBI_JSON_TEXT_H
#define NBI_JSON_TEXT_H

#include "base/json.h"

/* Appends one line a value, indented by depth. */
void nbi_json_text(nbi_strbuf *out, const nbi_json *v);
/* `out` holds one JSON object: ends the line when `json`, else replaces it by its text form. */
nb_status nbi_json_present(nbi_strbuf *out, bool json, nb_error *err) NB_MUST_CHECK;

#endif
