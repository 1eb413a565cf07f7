/* SPDX-License-Identifier: MIT */
#include "base/json_text.h"
#include "base/fail.h"
#include "kernel/doctor.h"
#include "nibble/inspect.h"
#include "train/assembly.h"

nb_status nb_doctor(const char *cpumask, int threads, bool json, char **text, nb_error *err)
{
    unsigned flags = 0;
    nbi_strbuf out = {0};
    nbi_json_writer w;
    *text = NULL;
    NBI_TRY(nbi_cpumask_parse(cpumask, &flags, err));
    nbi_json_writer_init(&w, &out, 0, true);
    nbi_jw_object(&w);
    nb_status st = nb_doctor_report(&w, flags, threads, err);
    nbi_jw_object_end(&w);
    if (st == NB_OK)
        st = nbi_json_present(&out, json, err);
    if (st != NB_OK)
        nbi_strbuf_free(&out);
    *text = out.s;
    return st;
}
