/* SPDX-License-Identifier: MIT */
#include "base/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include "base/alloc.h"
#include "base/fail.h"
#include "base/io.h"

enum { DIGEST = 32, CHUNK = 256 * 1024 };

static void to_hex(const unsigned char *d, char hex[65])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < DIGEST; i++) {
        hex[2 * i] = digits[d[i] >> 4];
        hex[2 * i + 1] = digits[d[i] & 15];
    }
    hex[2 * DIGEST] = 0;
}

nb_status nbi_sha256_hex(const void *data, size_t n, char hex[65], nb_error *err)
{
    unsigned char d[EVP_MAX_MD_SIZE];
    if (EVP_Digest(data, n, d, NULL, EVP_sha256(), NULL) != 1)
        return nbi_fail(err, NB_INTERNAL, "SHA-256 is not available in this libcrypto");
    to_hex(d, hex);
    return NB_OK;
}

static nb_status digest_fd(int fd, const char *path, EVP_MD_CTX *ctx, char *buf, nb_error *err)
{
    for (;;) {
        long n = nbi_io_read(fd, buf, CHUNK);
        if (n < 0)
            return nbi_fail_errno(err, errno, "%s: cannot read", path);
        if (n == 0)
            return NB_OK;
        if (EVP_DigestUpdate(ctx, buf, (size_t)n) != 1)
            return nbi_fail(err, NB_INTERNAL, "%s: SHA-256 failed", path);
    }
}

nb_status nbi_sha256_file(const char *path, char hex[65], nb_error *err)
{
    nb_status st = NB_OK;
    unsigned char d[EVP_MAX_MD_SIZE];
    char *buf = NULL;
    EVP_MD_CTX *ctx = NULL;
    int fd = nbi_io_open(path, O_RDONLY, 0);
    if (fd < 0)
        return nbi_fail_errno(err, errno, "%s: cannot open", path);
    buf = nbi_alloc(NBI_MEM_IO, CHUNK);
    ctx = EVP_MD_CTX_new();
    if (!buf || !ctx) {
        st = nbi_fail_nomem(err, path, CHUNK);
        goto done;
    }
    if (EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        st = nbi_fail(err, NB_INTERNAL, "SHA-256 is not available in this libcrypto");
        goto done;
    }
    NBI_TRY_GOTO(digest_fd(fd, path, ctx, buf, err), done);
    if (EVP_DigestFinal_ex(ctx, d, NULL) != 1)
        st = nbi_fail(err, NB_INTERNAL, "%s: SHA-256 failed", path);
    else
        to_hex(d, hex);
done:
    EVP_MD_CTX_free(ctx);
    nbi_free(buf);
    nbi_io_close(fd);
    return st;
}
