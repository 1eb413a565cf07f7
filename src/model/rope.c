/* SPDX-License-Identifier: MIT */
/* Rotary positions: settings and frequencies (Su et al., "RoFormer", 2021; scaling variants as
 * transformers computes them). */
#include <math.h>
#include <string.h>
#include "base/fail.h"
#include "model/config_priv.h"

typedef struct rope_source {
    const nbi_json *params;  /* rope_parameters (5) */
    const nbi_json *scaling; /* rope_scaling (4) */
    const nbi_json *from;    /* the one that counts, or NULL */
    const char *name;        /* its key */
} rope_source;

static nb_status find_source(const nbi_json *doc, const char *where, rope_source *s, nb_error *err)
{
    *s = (rope_source){nbi_json_get(doc, "rope_parameters"), nbi_json_get(doc, "rope_scaling"),
                       NULL, "rope_scaling"};
    if (!nbi_json_is_null(s->params)) {
        s->from = s->params;
        s->name = "rope_parameters";
    } else if (!nbi_json_is_null(s->scaling)) {
        s->from = s->scaling;
    }
    if (s->from && s->from->type != NBI_JT_OBJECT)
        return nbi_fail(err, NB_FORMAT, "%s: %s must be an object or null", where, s->name);
    for (const nbi_json *m = s->from ? s->from->first : NULL; m; m = m->next)
        if (m->type == NBI_JT_OBJECT)
            return nbi_fail(
                err, NB_UNSUPPORTED,
                "%s: %s differs by kind of layer (\"%.32s\"), which is not supported for "
                "this model type",
                where, s->name, m->key);
    return NB_OK;
}

static nb_status read_theta(nb_model_config *c, const nbi_json *doc, const rope_source *s,
                            const char *where, nb_error *err)
{
    double outer = 0, inner = 0;
    NBI_TRY(nbi_json_get_f64(doc, where, "rope_theta", &outer, err));
    NBI_TRY(nbi_json_get_f64(s->from, where, "rope_theta", &inner, err));
    bool both = !nbi_json_is_null(nbi_json_get(doc, "rope_theta")) &&
                !nbi_json_is_null(nbi_json_get(s->from, "rope_theta"));
    if (both && outer != inner)
        return nbi_fail(err, NB_FORMAT, "%s: rope_theta is %g at the top but %g in %s", where,
                        outer, inner, s->name);
    bool given = both || !nbi_json_is_null(nbi_json_get(doc, "rope_theta")) ||
                 !nbi_json_is_null(nbi_json_get(s->from, "rope_theta"));
    c->rope.theta = !given                                                  ? 10000.0
                    : nbi_json_is_null(nbi_json_get(s->from, "rope_theta")) ? outer
                                                                            : inner;
    if (!(c->rope.theta > 0) || !(c->rope.theta < 1e30))
        return nbi_fail(err, NB_FORMAT, "%s: rope_theta %g must be above 0", where, c->rope.theta);
    return NB_OK;
}

static nb_status read_type(const rope_source *s, const char *where, nb_rope_type *type,
                           nb_error *err)
{
    static const struct {
        const char *name;
        nb_rope_type type;
    } known[] = {{"default", NB_ROPE_DEFAULT},
                 {"linear", NB_ROPE_LINEAR},
                 {"dynamic", NB_ROPE_DYNAMIC},
                 {"llama3", NB_ROPE_LLAMA3}};
    const char *name = NULL;
    NBI_TRY(nbi_json_get_str(s->from, where, "type", &name, err));
    NBI_TRY(nbi_json_get_str(s->from, where, "rope_type", &name, err)); /* the newer key wins */
    if (!name)
        name = "default";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0) {
            *type = known[i].type;
            return NB_OK;
        }
    return nbi_fail(
        err, NB_UNSUPPORTED,
        "%s: rope type \"%.32s\" is not supported; supported are default, linear, dynamic, "
        "llama3",
        where, name);
}

static nb_status need_f64(const rope_source *s, const char *where, const char *key, double *r,
                          nb_error *err)
{
    if (nbi_json_is_null(nbi_json_get(s->from, key)))
        return nbi_fail(err, NB_FORMAT, "%s: %s lacks %s", where, s->name, key);
    NBI_TRY(nbi_json_get_f64(s->from, where, key, r, err));
    if (!(*r > 0) || !(*r < 1e9))
        return nbi_fail(err, NB_FORMAT, "%s: %s.%s %g must be above 0", where, s->name, key, *r);
    return NB_OK;
}

static nb_status read_llama3(nb_rope_config *r, const rope_source *s, const char *where,
                             nb_error *err)
{
    NBI_TRY(need_f64(s, where, "low_freq_factor", &r->low_freq_factor, err));
    NBI_TRY(need_f64(s, where, "high_freq_factor", &r->high_freq_factor, err));
    if (!(r->high_freq_factor > r->low_freq_factor))
        return nbi_fail(err, NB_FORMAT, "%s: %s.high_freq_factor must be above low_freq_factor",
                        where, s->name);
    if (r->original_max_positions == 0)
        return nbi_fail(err, NB_FORMAT, "%s: %s lacks original_max_position_embeddings", where,
                        s->name);
    return NB_OK;
}

/* Rotation of a part of each head belongs to other families. */
static nb_status refuse_partial(const nbi_json *obj, const char *where, nb_error *err)
{
    double part = 1.0;
    NBI_TRY(nbi_json_get_f64(obj, where, "partial_rotary_factor", &part, err));
    if (part != 1.0)
        return nbi_fail(err, NB_UNSUPPORTED,
                        "%s: partial_rotary_factor %g is not supported for this model type", where,
                        part);
    return NB_OK;
}

nb_status nbi_config_rope(nb_model_config *c, const nbi_json *doc, const char *where, nb_error *err)
{
    nb_rope_config *r = &c->rope;
    rope_source s;
    NBI_TRY(find_source(doc, where, &s, err));
    NBI_TRY(refuse_partial(doc, where, err));
    NBI_TRY(refuse_partial(s.from, where, err));
    NBI_TRY(read_theta(c, doc, &s, where, err));
    NBI_TRY(read_type(&s, where, &r->type, err));
    r->factor = 1.0;
    if (r->type == NB_ROPE_DEFAULT)
        return NB_OK;
    NBI_TRY(need_f64(&s, where, "factor", &r->factor, err));
    NBI_TRY(nbi_json_get_i64(s.from, where, "original_max_position_embeddings", 1, (int64_t)1 << 30,
                             &r->original_max_positions, err));
    if (r->type == NB_ROPE_DYNAMIC && (c->head_dim < 4 || r->factor < 1.0))
        return nbi_fail(
            err, NB_FORMAT,
            "%s: dynamic rope scaling needs a head size of 4 or more and a factor of 1 or "
            "more, found %lld and %g",
            where, (long long)c->head_dim, r->factor);
    return r->type == NB_ROPE_LLAMA3 ? read_llama3(r, &s, where, err) : NB_OK;
}

/* 1 / base^(2i/d), each step rounded to f32 as a chain of f32 tensor operations gives it. */
static void plain_frequencies(double base, int64_t d, float *inv_freq)
{
    for (int64_t i = 0; i < d / 2; i++) {
        float exponent = (float)(2 * i) / (float)d;
        float power = (float)pow((double)(float)base, (double)exponent);
        inv_freq[i] = 1.0f / power;
    }
}

/* Long waves are slowed down by `factor`, short ones stay, those between are blended. */
static void llama3_frequencies(const nb_rope_config *r, int64_t half, float *inv_freq)
{
    float context = (float)r->original_max_positions, factor = (float)r->factor;
    float low = (float)r->low_freq_factor;
    float long_wave = (float)((double)r->original_max_positions / r->low_freq_factor);
    float short_wave = (float)((double)r->original_max_positions / r->high_freq_factor);
    float span = (float)(r->high_freq_factor - r->low_freq_factor);
    for (int64_t i = 0; i < half; i++) {
        float f = inv_freq[i], wave = (float)(2.0 * M_PI) / f;
        if (wave > long_wave) {
            inv_freq[i] = f / factor;
        } else if (!(wave < short_wave)) {
            float smooth = (context / wave - low) / span;
            inv_freq[i] = (1.0f - smooth) * f / factor + smooth * f;
        }
    }
}

void nb_rope_frequencies(const nb_model_config *c, int64_t seq_len, float *inv_freq)
{
    const nb_rope_config *r = &c->rope;
    int64_t d = c->head_dim;
    double base = r->theta;
    if (r->type == NB_ROPE_DYNAMIC) {
        double longest = (double)(seq_len > c->max_positions ? seq_len : c->max_positions);
        double grow = r->factor * longest / (double)c->max_positions - (r->factor - 1.0);
        base *= pow(grow, (double)d / (double)(d - 2));
    }
    plain_frequencies(base, d, inv_freq);
    if (r->type == NB_ROPE_LINEAR)
        for (int64_t i = 0; i < d / 2; i++)
            inv_freq[i] /= (float)r->factor;
    else if (r->type == NB_ROPE_LLAMA3)
        llama3_frequencies(r, d / 2, inv_freq);
}
