/* SPDX-License-Identifier: MIT */
/* Models that other programs have already downloaded into the Hugging Face cache. */
#ifndef NB_HUB_CACHE_H
#define NB_HUB_CACHE_H

#include "nibble/status.h"

/* "org/name" to the folder of its snapshot in the cache: HF_HUB_CACHE, else HF_HOME/hub, else
 * XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub. `revision`: branch, tag or commit;
 * NULL is "main". *path is freed with nbi_free. An existing folder called `name` is returned as it
 * is. NB_NOTFOUND says where was searched; nothing is downloaded. */
nb_status nb_hub_resolve(const char *name, const char *revision, char **path,
                         nb_error *err) NB_MUST_CHECK;

#endif
