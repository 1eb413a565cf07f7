/* SPDX-License-Identifier: MIT */
#include "model/family.h"

#include <string.h>

const nb_family *const nb_families[] = {&nbi_family_llama, &nbi_family_mistral, &nbi_family_qwen2,
                                        &nbi_family_qwen3, NULL};

static const nb_family *const planned[] = {&nbi_family_mixtral, NULL};

static const nb_family *find(const nb_family *const *list, const char *model_type)
{
    for (size_t i = 0; list[i]; i++)
        if (strcmp(list[i]->model_type, model_type) == 0)
            return list[i];
    return NULL;
}

const nb_family *nb_family_find(const char *model_type)
{
    return find(nb_families, model_type);
}

const nb_family *nb_family_find_planned(const char *model_type)
{
    return find(planned, model_type);
}

void nb_family_list(nbi_strbuf *out)
{
    for (size_t i = 0; nb_families[i]; i++) {
        if (i)
            nbi_strbuf_puts(out, ", ");
        nbi_strbuf_puts(out, nb_families[i]->model_type);
    }
}
