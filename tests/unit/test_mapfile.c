/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "testutil.h"
#include "base/io.h"
#include "base/mapguard.h"

static size_t sum(const unsigned char *p, size_t n)
{
    const volatile unsigned char *v = p;
    size_t s = 0;
    for (size_t i = 0; i < n; i++)
        s += v[i];
    return s;
}

static void maps_files(void **state)
{
    (void)state;
    nb_error err;
    nbi_mapfile m;
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "f"), *pipe_path = nbt_join(dir, "pipe");
    nbt_write_text(path, "hello");
    NBT_OK(nbi_mapfile_open(&m, path, &err));
    assert_int_equal(m.size, 5);
    assert_memory_equal(m.data, "hello", 5);
    NBT_OK(nbi_mapfile_check(&m, &err));
    /* put in place anew by another process: our data stay, the size tells */
    nbt_write_text(path, "other text");
    assert_memory_equal(m.data, "hello", 5);
    NBT_FAILS(NB_IO, "changed", nbi_mapfile_check(&m, &err));
    assert_int_equal(unlink(path), 0);
    NBT_OK(nbi_mapfile_check(&m, &err));
    nbi_mapfile_close(&m);
    nbi_mapfile_close(&m);
    nbt_write(path, "", 0);
    NBT_OK(nbi_mapfile_open(&m, path, &err));
    assert_true(m.size == 0 && m.data == NULL);
    NBT_OK(nbi_mapfile_check(&m, &err));
    nbi_mapfile_close(&m);
    NBT_FAILS(NB_NOTFOUND, "no-file", nbi_mapfile_open(&m, "no-file", &err));
    NBT_FAILS(NB_IO, "folder", nbi_mapfile_open(&m, dir, &err));
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    NBT_FAILS(NB_IO, "not a regular file", nbi_mapfile_open(&m, pipe_path, &err));
    nbi_free(path);
    nbi_free(pipe_path);
    nbt_tmpdir_remove(dir);
}

static void survives_truncation(void **state)
{
    (void)state;
    nb_error err;
    nbi_mapfile m, other;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 40 * page + 100;
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "f"), *second = nbt_join(dir, "g");
    unsigned char *data = nbi_alloc(NBI_MEM_IO, n);
    memset(data, 1, n);
    nbt_write(path, data, n);
    nbt_write(second, data, n);
    NBT_OK(nbi_mapfile_open(&m, path, &err));
    NBT_OK(nbi_mapfile_open(&other, second, &err));
    assert_int_equal(truncate(path, (off_t)(3 * page)), 0);
    assert_int_equal(sum(m.data, n), 3 * page);
    NBT_FAILS(NB_IO, "f: file changed or truncated while reading", nbi_mapfile_check(&m, &err));
    /* also when the size is the old one again */
    assert_int_equal(truncate(path, (off_t)n), 0);
    NBT_FAILS(NB_IO, "file changed or truncated while reading", nbi_mapfile_check(&m, &err));
    assert_int_equal(sum(other.data, n), n);
    NBT_OK(nbi_mapfile_check(&other, &err));
    nbi_mapfile_close(&m);
    nbi_mapfile_close(&other);
    /* the next mapping in the same slot starts clean */
    nbt_write(path, data, n);
    NBT_OK(nbi_mapfile_open(&m, path, &err));
    NBT_OK(nbi_mapfile_check(&m, &err));
    nbi_mapfile_close(&m);
    nbi_free(data);
    nbi_free(path);
    nbi_free(second);
    nbt_tmpdir_remove(dir);
}

typedef struct reader {
    const nbi_mapfile *m;
    size_t total;
} reader;

static void *read_all(void *arg)
{
    reader *r = arg;
    r->total = sum(r->m->data, r->m->size);
    return NULL;
}

static void survives_truncation_in_threads(void **state)
{
    (void)state;
    nb_error err;
    nbi_mapfile m;
    size_t n = 4 << 20;
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "f");
    unsigned char *data = nbi_alloc(NBI_MEM_IO, n);
    memset(data, 1, n);
    nbt_write(path, data, n);
    NBT_OK(nbi_mapfile_open(&m, path, &err));
    assert_int_equal(truncate(path, 0), 0);
    pthread_t t[4];
    reader r[4];
    for (int i = 0; i < 4; i++) {
        r[i] = (reader){&m, 1};
        assert_int_equal(pthread_create(&t[i], NULL, read_all, &r[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(r[i].total, 0);
    }
    NBT_FAILS(NB_IO, "changed", nbi_mapfile_check(&m, &err));
    nbi_mapfile_close(&m);
    nbi_free(data);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

/* SIGBUS that is none of our business must still end the process. */
static void lets_other_bus_errors_through(void **state)
{
    (void)state;
    nb_error err;
    nbi_mapfile m;
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "f");
    nbt_write_text(path, "hello");
    NBT_OK(nbi_mapfile_open(&m, path, &err));
    for (int way = 0; way < 2; way++) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            struct rlimit none = {0, 0};
            setrlimit(RLIMIT_CORE, &none);
            int null = open("/dev/null", O_WRONLY);
            dup2(null, 2); /* a sanitizer would report it */
            /* away with cmocka's handler, then ours again */
            signal(SIGBUS, SIG_DFL);
            nbi_mapfile_close(&m);
            if (nbi_mapfile_open(&m, path, &err) != NB_OK)
                _exit(0);
            if (way == 0) {
                int fd = open(path, O_RDONLY);
                unsigned char *p = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
                if (truncate(path, 0) != 0 || p == MAP_FAILED)
                    _exit(0);
                _exit(sum(p, 10) == 99);
            }
            raise(SIGBUS);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGBUS : WEXITSTATUS(status) > 1);
    }
    nbi_mapfile_close(&m);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

static void guards_many(void **state)
{
    (void)state;
    enum { N = 4096 };
    static char area[N + 1];
    int added = 0;
    while (added <= N && nbi_mapguard_add(&area[added], 1))
        added++;
    assert_int_equal(added, N);
    for (int i = 0; i < added; i++)
        assert_false(nbi_mapguard_hit(&area[i]));
    for (int i = 0; i < added; i++)
        nbi_mapguard_remove(&area[i]);
    nbi_mapguard_remove(&area[0]);
    assert_true(nbi_mapguard_add(&area[N], 1));
    nbi_mapguard_remove(&area[N]);
}

static void reads_files(void **state)
{
    (void)state;
    nb_error err;
    char *text = NULL, *dir = nbt_tmpdir(), *path = nbt_join(dir, "f");
    size_t len = 1;
    nbt_write_text(path, "12345");
    NBT_OK(nbi_read_file(path, 5, &text, &len, &err));
    assert_string_equal(text, "12345");
    assert_int_equal(len, 5);
    nbi_free(text);
    NBT_FAILS(NB_LIMIT, "f: 5 bytes, more than the limit of 4",
              nbi_read_file(path, 4, &text, &len, &err));
    nbt_write(path, "", 0);
    NBT_OK(nbi_read_file(path, 0, &text, &len, &err));
    assert_true(len == 0 && text[0] == 0);
    nbi_free(text);
    NBT_FAILS(NB_IO, "folder", nbi_read_file(dir, 10, &text, &len, &err));
    NBT_FAILS(NB_NOTFOUND, "", nbi_read_file("no-file", 10, &text, &len, &err));
    /* files without a size: must be read to the end, and stop at the limit */
    NBT_OK(nbi_read_file("/proc/self/status", 1 << 20, &text, &len, &err));
    assert_true(len > 100 && strlen(text) == len);
    nbi_free(text);
    NBT_FAILS(NB_LIMIT, "/dev/zero", nbi_read_file("/dev/zero", 300000, &text, &len, &err));
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

static void lists_folders(void **state)
{
    (void)state;
    nb_error err;
    char **names, *dir = nbt_tmpdir();
    size_t n;
    static const char *const made[] = {"b", "a", ".h", "\xC3\xA9", "B", "a1"};
    static const char *const sorted[] = {".h", "B", "a", "a1", "b", "\xC3\xA9"};
    NBT_OK(nbi_list_dir(dir, &names, &n, &err));
    assert_int_equal(n, 0);
    nbi_list_dir_free(names, n);
    for (int i = 0; i < 6; i++) {
        char *p = nbt_join(dir, made[i]);
        nbt_write_text(p, "");
        nbi_free(p);
    }
    NBT_OK(nbi_list_dir(dir, &names, &n, &err));
    assert_int_equal(n, 6);
    for (int i = 0; i < 6; i++)
        assert_string_equal(names[i], sorted[i]);
    nbi_list_dir_free(names, n);
    NBT_FAILS(NB_NOTFOUND, "no-dir", nbi_list_dir("no-dir", &names, &n, &err));
    char *p = nbi_path_join("a/", "b"), *q = nbi_path_join("", "b"), *r = nbi_path_join("/", "b");
    assert_string_equal(p, "a/b");
    assert_string_equal(q, "b");
    assert_string_equal(r, "/b");
    nbi_free(p);
    nbi_free(q);
    nbi_free(r);
    nbt_tmpdir_remove(dir);
}

/* Each I/O call and each allocation of each reader fails once: an error, nothing leaked. */
static void readers_survive_faults(void **state)
{
    (void)state;
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "f");
    nbt_write_text(path, "hello");
    for (int what = 0; what < 6; what++) {
        for (uint64_t k = 1;; k++) {
            nb_error err = {0};
            nbi_mapfile m;
            char *text, **names;
            size_t n, before = nbt_in_use();
            nb_status st;
            if (what % 2)
                nbi_alloc_fail_at(k, false);
            else
                nbi_io_fail_at(k, NBI_IO_FAULT_ERRNO, EIO, false);
            if (what / 2 == 0 && (st = nbi_mapfile_open(&m, path, &err)) == NB_OK)
                nbi_mapfile_close(&m);
            if (what / 2 == 1 && (st = nbi_read_file(path, 100, &text, &n, &err)) == NB_OK)
                nbi_free(text);
            if (what / 2 == 2 && (st = nbi_list_dir(dir, &names, &n, &err)) == NB_OK)
                nbi_list_dir_free(names, n);
            uint64_t count = what % 2 ? nbi_alloc_count() : nbi_io_count();
            nbi_alloc_fail_at(0, false);
            nbi_io_fail_at(0, NBI_IO_FAULT_ERRNO, 0, false);
            assert_int_equal(nbt_in_use(), before);
            if (count < k) {
                assert_int_equal(st, NB_OK);
                break;
            }
            /* closing what was only read may fail without harm */
            if (st != NB_OK)
                assert_int_equal(st, what % 2 ? NB_NOMEM : NB_IO);
        }
    }
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_files),
        cmocka_unit_test(survives_truncation),
        cmocka_unit_test(survives_truncation_in_threads),
        cmocka_unit_test(lets_other_bus_errors_through),
        cmocka_unit_test(guards_many),
        cmocka_unit_test(reads_files),
        cmocka_unit_test(lists_folders),
        cmocka_unit_test(readers_survive_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
