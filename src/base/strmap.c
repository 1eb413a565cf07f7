/* SPDX-License-Identifier: MIT */
#include "base/strmap.h"

#include <string.h>
#include <sys/auxv.h>
#include "base/checked.h"

/* Differs from process to process, so that a file cannot be made whose keys all collide. The kernel
 * hands each process 16 random bytes; they never change while it runs. */
static uint64_t seed(void)
{
    uint64_t s = UINT64_C(0x9E3779B97F4A7C15);
    const char *p = (const char *)getauxval(AT_RANDOM);
    if (p)
        memcpy(&s, p + 8, sizeof(s));
    return s;
}

static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 m = (unsigned __int128)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint32_t hash_of(const char *s, size_t len)
{
    const uint64_t k0 = UINT64_C(0x8EBC6AF09C88C6E3), k1 = UINT64_C(0xD6E8FEB86659FD93);
    uint64_t key = seed(), h = key ^ len, w;
    for (; len >= 8; s += 8, len -= 8) {
        memcpy(&w, s, 8);
        h = fold(h ^ w ^ k0, key ^ k1);
        h ^= w;
    }
    w = 0;
    if (len > 0)
        memcpy(&w, s, len);
    h = fold(h ^ w ^ k1, key ^ k0);
    return (uint32_t)(h ^ (h >> 32));
}

/* The slot that holds the key or the free one where it belongs; there is always a free one. */
static nbi_strmap_slot *find(const nbi_strmap *m, const char *key, size_t len, uint32_t hash)
{
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        nbi_strmap_slot *s = &m->slots[i];
        if (!s->key)
            return s;
        if (s->hash == hash && s->len == len && (len == 0 || memcmp(s->key, key, len) == 0))
            return s;
    }
}

static bool resize(nbi_strmap *m, size_t cap)
{
    nbi_strmap_slot *slots = nbi_calloc(NBI_MEM_OTHER, cap, sizeof(*slots));
    if (!slots)
        return false;
    for (size_t i = 0; i < m->cap; i++) {
        if (!m->slots[i].key)
            continue;
        size_t at = m->slots[i].hash & (cap - 1);
        while (slots[at].key)
            at = (at + 1) & (cap - 1);
        slots[at] = m->slots[i];
    }
    nbi_free(m->slots);
    m->slots = slots;
    m->cap = cap;
    return true;
}

/* At most 2/3 full. */
bool nbi_strmap_reserve(nbi_strmap *m, size_t n)
{
    size_t need, cap = m->cap ? m->cap : 16;
    if (!nbi_mul_size(n, 3, &need))
        return false;
    need = need / 2 + 1;
    while (cap < need)
        if (!nbi_mul_size(cap, 2, &cap))
            return false;
    return cap == m->cap || resize(m, cap);
}

bool nbi_strmap_put(nbi_strmap *m, const char *key, size_t len, int64_t value, bool *existed)
{
    if (len > UINT32_MAX || !nbi_strmap_reserve(m, m->n + 1))
        return false;
    uint32_t hash = hash_of(key, len);
    nbi_strmap_slot *s = find(m, key, len, hash);
    if (existed)
        *existed = s->key != NULL;
    if (!s->key) {
        s->key = key ? key : "";
        s->len = (uint32_t)len;
        s->hash = hash;
        m->n++;
    }
    s->value = value;
    return true;
}

bool nbi_strmap_get(const nbi_strmap *m, const char *key, size_t len, int64_t *value)
{
    if (m->n == 0 || len > UINT32_MAX)
        return false;
    nbi_strmap_slot *s = find(m, key, len, hash_of(key, len));
    if (!s->key)
        return false;
    if (value)
        *value = s->value;
    return true;
}

void nbi_strmap_free(nbi_strmap *m)
{
    nbi_free(m->slots);
    memset(m, 0, sizeof(*m));
}
