/* SPDX-License-Identifier: MIT */
#include "sampling.h"

#include <stdio.h>
#include <unistd.h>

nb_status cli_sampling(const cli_args *a, nb_generate_options *o, nb_error *err)
{
    int64_t seed = 42;
    nb_generate_options_default(o);
    o->stop = &cli_stop;
    nb_status st = cli_int(a, "max_new_tokens", 1, 1 << 20, &o->max_new_tokens, err);
    if (st == NB_OK)
        st = cli_double(a, "temperature", 0, 100, &o->temperature, err);
    if (st == NB_OK)
        st = cli_int(a, "top_k", 0, 1 << 24, &o->top_k, err);
    if (st == NB_OK)
        st = cli_double(a, "top_p", 0, 1, &o->top_p, err);
    if (st == NB_OK)
        st = cli_double(a, "min_p", 0, 1, &o->min_p, err);
    if (st == NB_OK)
        st = cli_double(a, "repetition_penalty", 0.01, 100, &o->repetition_penalty, err);
    if (st == NB_OK)
        st = cli_int(a, "seed", 0, INT64_MAX, &seed, err);
    o->seed = (uint64_t)seed;
    o->ignore_eos = cli_flag(a, "ignore_eos");
    o->stop_text = cli_get(a, "stop");
    return st;
}

void cli_print_safe(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i],
                      next = i + 1 < len ? (unsigned char)text[i + 1] : 0;
        bool c1 = c == 0xc2 && next >= 0x80 && next < 0xa0; /* U+0080..U+009F */
        if (c1)
            printf("\\x%02x", (unsigned char)text[++i]);
        else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
}

bool cli_stream_text(void *user, const char *text, size_t len)
{
    (void)user;
    if (isatty(STDOUT_FILENO))
        cli_print_safe(text, len);
    else
        fwrite(text, 1, len, stdout);
    return fflush(stdout) == 0;
}
