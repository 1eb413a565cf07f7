/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "testutil.h"
#include "base/io.h"

/* ---- what an operation under faults is checked for ---- */

static size_t open_files(void)
{
    char **names;
    size_t n;
    nb_error err;
    NBT_OK(nbi_list_dir("/proc/self/fd", &names, &n, &err));
    nbi_list_dir_free(names, n);
    return n;
}

/* Names in dir that begin with a dot, the lock excepted. */
static size_t count_hidden(const char *dir)
{
    char **names;
    size_t n, hidden = 0;
    nb_error err;
    NBT_OK(nbi_list_dir(dir, &names, &n, &err));
    for (size_t i = 0; i < n; i++)
        hidden += names[i][0] == '.' && strcmp(names[i], ".lock") != 0;
    nbi_list_dir_free(names, n);
    return hidden;
}

static bool holds(const char *path, const char *text)
{
    size_t len;
    if (!nbi_path_exists(path))
        return false;
    char *have = nbt_read(path, &len);
    bool same = len == strlen(text) && memcmp(have, text, len) == 0;
    nbi_free(have);
    return same;
}

/* A folder with the files one and sub/two of this text, or without anything. */
static void put_folder(const char *path, const char *text)
{
    nb_error err;
    NBT_OK(nbi_remove_tree(path, &err));
    if (!text)
        return;
    char *sub = nbt_join(path, "sub"), *one = nbt_join(path, "one"), *two = nbt_join(sub, "two");
    NBT_OK(nbi_make_dirs(sub, &err));
    nbt_write_text(one, text);
    nbt_write_text(two, text);
    nbi_free(sub);
    nbi_free(one);
    nbi_free(two);
}

static bool folder_holds(const char *path, const char *text)
{
    if (!text)
        return !nbi_path_exists(path);
    char *sub = nbt_join(path, "sub"), *one = nbt_join(path, "one"), *two = nbt_join(sub, "two");
    bool same = holds(one, text) && holds(two, text);
    char **names;
    size_t n = 0;
    if (nbi_list_dir(path, &names, &n, NULL) == NB_OK)
        nbi_list_dir_free(names, n);
    nbi_free(sub);
    nbi_free(one);
    nbi_free(two);
    return same && n == 2;
}

typedef nb_status operation(const char *dir, const char *target, nb_error *err);

static nb_status write_file(const char *dir, const char *target, nb_error *err)
{
    (void)dir;
    return nbi_write_file(target, "new", 3, err);
}

static nb_status write_pieces(const char *dir, const char *target, nb_error *err)
{
    (void)dir;
    nbi_safefile f;
    nb_status st = nbi_safefile_create(&f, target, err);
    if (st != NB_OK)
        return st;
    for (int i = 0; i < 3 && st == NB_OK; i++)
        st = nbi_safefile_write(&f, &"new"[i], 1, err);
    if (st == NB_OK) {
        assert_int_equal(f.written, 3);
        st = nbi_safefile_commit(&f, err);
    }
    nbi_safefile_abort(&f);
    return st;
}

static nb_status copy_file(const char *dir, const char *target, nb_error *err)
{
    char *from = nbt_join(dir, "source");
    nb_status st = nbi_copy_file(from, target, err);
    nbi_free(from);
    return st;
}

static nb_status write_folder(const char *dir, const char *target, nb_error *err)
{
    (void)dir;
    nbi_safedir d;
    nb_status st = nbi_safedir_create(&d, target, err);
    if (st != NB_OK)
        return st;
    char *sub = nbt_join(d.tmp, "sub"), *one = nbt_join(d.tmp, "one"), *two = nbt_join(sub, "two");
    st = nbi_make_dirs(sub, err);
    if (st == NB_OK)
        st = nbi_write_file(one, "new", 3, err);
    if (st == NB_OK)
        st = nbi_write_file(two, "new", 3, err);
    if (st == NB_OK)
        st = nbi_safedir_commit(&d, err);
    nbi_safedir_abort(&d);
    nbi_free(sub);
    nbi_free(one);
    nbi_free(two);
    return st;
}

static void put(bool folder, const char *target, const char *text)
{
    if (folder)
        put_folder(target, text);
    else if (text)
        nbt_write_text(target, text);
    else
        unlink(target);
}

static bool has(bool folder, const char *target, const char *text)
{
    if (folder)
        return folder_holds(target, text);
    return text ? holds(target, text) : !nbi_path_exists(target);
}

/* Every I/O call of `op` fails once (or from then on); old is the content before, NULL for none. */
static void every_call_fails(operation *op, bool folder, const char *old, nbi_io_fault kind,
                             int why, bool forever)
{
    char *dir = nbt_tmpdir(), *target = nbt_join(dir, "target"), *source = nbt_join(dir, "source");
    nbt_write_text(source, "new");
    for (uint64_t k = 1;; k++) {
        nb_error err;
        put(folder, target, old);
        size_t memory = nbt_in_use(), files = open_files();
        memset(&err, 0, sizeof(err));
        nbi_io_fail_at(k, kind, why, forever);
        nb_status st = op(dir, target, &err);
        uint64_t count = nbi_io_count();
        nbi_io_fail_at(0, NBI_IO_FAULT_ERRNO, 0, false);
        assert_int_equal(nbt_in_use(), memory);
        assert_int_equal(open_files(), files);
        bool is_new = has(folder, target, "new"), is_old = has(folder, target, old);
        if (st == NB_OK ? !is_new : !is_new && !is_old)
            fail_msg("call %d: status %d, neither old nor new: %s", (int)k, st, err.message);
        if (st != NB_OK && (err.code != st || err.message[0] == 0))
            fail_msg("call %d: no message", (int)k);
        if (!forever && count_hidden(dir) != 0)
            fail_msg("call %d: a temporary is left (status %d)", (int)k, st);
        if (forever) { /* then nothing could be removed either */
            nb_error e2;
            err = e2 = (nb_error){0};
            NBT_OK(op(dir, target, &err));
            assert_true(has(folder, target, "new"));
            if (folder)
                assert_int_equal(count_hidden(dir), 0);
        }
        if (count < k) {
            assert_int_equal(st, NB_OK);
            assert_true(k > 6);
            break;
        }
    }
    nbi_free(target);
    nbi_free(source);
    nbt_tmpdir_remove(dir);
}

static void in_all_ways(operation *op, bool folder)
{
    static const char *const olds[] = {NULL, "old"};
    for (int i = 0; i < 2; i++) {
        every_call_fails(op, folder, olds[i], NBI_IO_FAULT_ERRNO, EIO, false);
        every_call_fails(op, folder, olds[i], NBI_IO_FAULT_ERRNO, ENOSPC, true);
        every_call_fails(op, folder, olds[i], NBI_IO_FAULT_SHORT, ENOSPC, false);
        every_call_fails(op, folder, olds[i], NBI_IO_FAULT_SHORT, EDQUOT, true);
    }
}

static void files_survive_faults(void **state)
{
    (void)state;
    in_all_ways(write_file, false);
    in_all_ways(write_pieces, false);
    in_all_ways(copy_file, false);
}

static void folders_survive_faults(void **state)
{
    (void)state;
    in_all_ways(write_folder, true);
}

/* On file systems without an exchange of names: two renames, and back when the second fails. */
static void folders_are_replaced_without_exchange(void **state)
{
    (void)state;
    nbi_io_deny_exchange(true);
    every_call_fails(write_folder, true, NULL, NBI_IO_FAULT_ERRNO, EIO, false);
    every_call_fails(write_folder, true, "old", NBI_IO_FAULT_ERRNO, EIO, false);
    nbi_io_deny_exchange(false);
}

/* A sync that was forgotten would not show otherwise. */
static void syncs_what_it_writes(void **state)
{
    (void)state;
    char *dir = nbt_tmpdir(), *target = nbt_join(dir, "target");
    nb_error err;
    nbi_io_fail_at(0, NBI_IO_FAULT_ERRNO, 0, false);
    NBT_OK(nbi_write_file(target, "x", 1, &err));
    /* open, write, sync, close, rename; open, sync and close of the folder */
    assert_int_equal(nbi_io_count(), 8);
    nbi_safedir d;
    NBT_OK(nbi_remove_tree(target, &err));
    NBT_OK(nbi_safedir_create(&d, target, &err));
    char *one = nbt_join(d.tmp, "one");
    nbt_write_text(one, "x");
    nbi_io_fail_at(0, NBI_IO_FAULT_ERRNO, 0, false);
    NBT_OK(nbi_safedir_commit(&d, &err));
    /* folder opened and its entry looked at; open, sync, close of file, folder and parent; is there
     * a target?, rename; the temporary name is free */
    assert_int_equal(nbi_io_count(), 2 + 3 * 3 + 2 + 1);
    nbi_free(one);
    nbi_free(target);
    nbt_tmpdir_remove(dir);
}

/* The process dies right after the k-th call; the next one must find old or new and clean up. */
static void every_call_kills(operation *op, bool folder, const char *old)
{
    char *dir = nbt_tmpdir(), *target = nbt_join(dir, "target"), *source = nbt_join(dir, "source");
    nbt_write_text(source, "new");
    for (uint64_t k = 1;; k++) {
        int status;
        put(folder, target, old);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            nbi_io_fail_at(k, NBI_IO_FAULT_KILL, 0, false);
            nb_status st = op(dir, target, NULL);
            _exit(st == NB_OK ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(has(folder, target, "new") || has(folder, target, old));
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            assert_true(has(folder, target, "new"));
            break;
        }
        assert_int_equal(WTERMSIG(status), SIGKILL);
        if (folder) {
            nb_error err;
            NBT_OK(op(dir, target, &err));
            assert_true(has(folder, target, "new"));
            assert_int_equal(count_hidden(dir), 0);
        }
    }
    nbi_free(target);
    nbi_free(source);
    nbt_tmpdir_remove(dir);
}

static void kills_lose_nothing(void **state)
{
    (void)state;
    every_call_kills(write_file, false, NULL);
    every_call_kills(write_file, false, "old");
    every_call_kills(write_folder, true, NULL);
    every_call_kills(write_folder, true, "old");
}

static void memory_faults_lose_nothing(void **state)
{
    (void)state;
    static operation *const ops[] = {write_file, copy_file};
    char *dir = nbt_tmpdir(), *target = nbt_join(dir, "target"), *source = nbt_join(dir, "source");
    nbt_write_text(source, "new");
    for (int o = 0; o < 2; o++) {
        for (uint64_t k = o == 1 ? 2 : 1;; k++) { /* the first allocation of copy_file is its own */
            nb_error err;
            nbt_write_text(target, "old");
            size_t memory = nbt_in_use(), files = open_files();
            nbi_alloc_fail_at(k, false);
            nb_status st = ops[o](dir, target, &err);
            uint64_t count = nbi_alloc_count();
            nbi_alloc_fail_at(0, false);
            assert_int_equal(nbt_in_use(), memory);
            assert_int_equal(open_files(), files);
            assert_int_equal(count_hidden(dir), 0);
            assert_int_equal(st, count < k ? NB_OK : NB_NOMEM);
            assert_true(holds(target, st == NB_OK ? "new" : "old") || holds(target, "new"));
            if (count < k)
                break;
        }
    }
    nbi_free(target);
    nbi_free(source);
    nbt_tmpdir_remove(dir);
}

/* ---- single properties ---- */

static void removes_only_stale_temporaries(void **state)
{
    (void)state;
    nb_error err;
    nbi_safedir d;
    char *dir = nbt_tmpdir(), *target = nbt_join(dir, "run");
    /* a process that is gone, and one that lives */
    pid_t gone = fork();
    if (gone == 0)
        _exit(0);
    waitpid(gone, NULL, 0);
    char names[7][64];
    snprintf(names[0], 64, ".tmp-run-%d", (int)gone); /* stale */
    snprintf(names[1], 64, ".tmp-run-%d", (int)getppid());
    snprintf(names[2], 64, ".tmp-run2-%d", (int)gone); /* of another target */
    snprintf(names[3], 64, ".tmp-run-x%d", (int)gone);
    snprintf(names[4], 64, ".tmp-run-2-%d", (int)gone);
    snprintf(names[5], 64, ".tmp-run-");
    snprintf(names[6], 64, "run-%d", (int)gone);
    for (int i = 0; i < 7; i++) {
        char *p = nbt_join(dir, names[i]);
        put_folder(p, "x");
        nbi_free(p);
    }
    NBT_OK(nbi_safedir_create(&d, target, &err));
    for (int i = 0; i < 7; i++) {
        char *p = nbt_join(dir, names[i]);
        assert_int_equal(nbi_path_exists(p), i != 0);
        nbi_free(p);
    }
    assert_true(nbi_path_is_dir(d.tmp));
    nbi_safedir_abort(&d);
    nbi_safedir_abort(&d);
    assert_false(nbi_path_exists(target));

    /* a replaced folder that was never put back comes back, one that was replaced goes */
    char aside[64];
    snprintf(aside, sizeof(aside), ".old-run-%d", (int)gone);
    char *p = nbt_join(dir, aside);
    put_folder(p, "old");
    NBT_OK(nbi_safedir_create(&d, target, &err));
    nbi_safedir_abort(&d);
    assert_true(folder_holds(target, "old"));
    put_folder(p, "older");
    NBT_OK(nbi_safedir_create(&d, target, &err));
    nbi_safedir_abort(&d);
    assert_true(folder_holds(target, "old"));
    assert_false(nbi_path_exists(p));
    nbi_free(p);
    nbi_free(target);
    nbt_tmpdir_remove(dir);
}

static void refuses_odd_targets(void **state)
{
    (void)state;
    nb_error err;
    nbi_safefile f = {0};
    nbi_safedir d = {0};
    char *dir = nbt_tmpdir(), *file = nbt_join(dir, "file"), *below = nbt_join(file, "x");
    char *missing = nbt_join(dir, "no/where"), *slashes = nbt_join(dir, "a//b///");
    nbt_write_text(file, "x");
    nbi_safefile_abort(&f);
    nbi_safedir_abort(&d);
    static const char *const odd[] = {"", "/", ".", "..", "x/.", "x/..", "//"};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        NBT_FAILS(NB_IO, "name", nbi_safefile_create(&f, odd[i], &err));
        nbi_safefile_abort(&f);
        if (i != 1 && i != 2 && i != 3 && i != 6)
            continue;
        NBT_FAILS(NB_IO, "name", nbi_safedir_create(&d, odd[i], &err));
    }
    NBT_FAILS(NB_NOTFOUND, "no/where", nbi_write_file(missing, "x", 1, &err));
    NBT_FAILS(NB_NOTFOUND, "file/x", nbi_write_file(below, "x", 1, &err));
    NBT_FAILS(NB_IO, "not a folder", nbi_safedir_create(&d, file, &err));
    NBT_FAILS(NB_IO, "not a folder", nbi_safedir_create(&d, below, &err));
    NBT_FAILS(NB_IO, "in place", nbi_write_file(dir, "x", 1, &err));
    NBT_OK(nbi_safedir_create(&d, slashes, &err));
    NBT_OK(nbi_safedir_commit(&d, &err));
    assert_true(nbi_path_is_dir(slashes));
    char *long_name = nbi_calloc(NBI_MEM_OTHER, 1, strlen(dir) + 300);
    assert_non_null(long_name);
    size_t dir_len = strlen(dir);
    memcpy(long_name, dir, dir_len);
    long_name[dir_len] = '/';
    memset(long_name + dir_len + 1, 'n', 255);
    NBT_FAILS(NB_IO, "too long", nbi_write_file(long_name, "x", 1, &err));
    nbi_free(long_name);
    assert_true(holds(file, "x"));
    nbi_free(file);
    nbi_free(below);
    nbi_free(missing);
    nbi_free(slashes);
    nbt_tmpdir_remove(dir);
}

static void leaves_links_alone(void **state)
{
    (void)state;
    nb_error err;
    char *dir = nbt_tmpdir(), *real = nbt_join(dir, "real"), *tree = nbt_join(dir, "tree");
    char *link_in = nbt_join(tree, "link"), *link_to = nbt_join(dir, "link");
    put_folder(real, "kept");
    put_folder(tree, "x");
    assert_int_equal(symlink(real, link_in), 0);
    NBT_OK(nbi_remove_tree(tree, &err));
    assert_false(nbi_path_exists(tree));
    assert_true(folder_holds(real, "kept"));
    assert_int_equal(symlink(real, link_to), 0);
    /* a target that is a link to a folder: the folder behind it is replaced, the link stays */
    NBT_OK(write_folder(dir, link_to, &err));
    struct stat st;
    assert_true(lstat(link_to, &st) == 0 && S_ISLNK(st.st_mode));
    assert_true(folder_holds(real, "new"));
    NBT_OK(nbi_remove_tree(link_to, &err));
    assert_true(folder_holds(real, "new"));
    NBT_OK(nbi_remove_tree(link_to, &err));
    nbi_free(real);
    nbi_free(tree);
    nbi_free(link_in);
    nbi_free(link_to);
    nbt_tmpdir_remove(dir);
}

static void makes_folders(void **state)
{
    (void)state;
    nb_error err;
    uint64_t bytes = 0, again = 0;
    char *dir = nbt_tmpdir(), *deep = nbt_join(dir, "a/b//c/"), *file = nbt_join(dir, "a/f");
    NBT_OK(nbi_free_space(deep, &bytes, &err));
    NBT_OK(nbi_free_space(dir, &again, &err));
    assert_true(bytes > 0 && again > 0);
    NBT_OK(nbi_free_space("", &bytes, &err));
    NBT_OK(nbi_free_space("no-such-name", &bytes, &err));
    NBT_OK(nbi_make_dirs(deep, &err));
    NBT_OK(nbi_make_dirs(deep, &err));
    assert_true(nbi_path_is_dir(deep));
    nbt_write_text(file, "x");
    NBT_FAILS(NB_IO, "not a folder", nbi_make_dirs(file, &err));
    char *below = nbt_join(file, "d");
    NBT_FAILS(NB_IO, "not a folder", nbi_make_dirs(below, &err));
    nbi_free(below);
    nbi_free(deep);
    nbi_free(file);
    nbt_tmpdir_remove(dir);
}

static void locks_folders(void **state)
{
    (void)state;
    nb_error err;
    int a = -1, b = -1, status, ready[2];
    char *dir = nbt_tmpdir(), mine[64];
    NBT_OK(nbi_dirlock_take(dir, &a, &err));
    snprintf(mine, sizeof(mine), "in use by process %d;", (int)getpid());
    size_t files = open_files();
    NBT_FAILS(NB_BUSY, mine, nbi_dirlock_take(dir, &b, &err));
    assert_int_equal(open_files(), files);
    nbi_dirlock_release(a);
    NBT_OK(nbi_dirlock_take(dir, &b, &err));
    nbi_dirlock_release(b);
    nbi_dirlock_release(-1);
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int h;
        bool ok = nbi_dirlock_take(dir, &h, NULL) == NB_OK;
        if (write(ready[1], ok ? "y" : "n", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    char c = 0;
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_int_equal(c, 'y');
    snprintf(mine, sizeof(mine), "in use by process %d;", (int)pid);
    NBT_FAILS(NB_BUSY, mine, nbi_dirlock_take(dir, &b, &err));
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    NBT_OK(nbi_dirlock_take(dir, &b, &err)); /* a dead process holds nothing */
    nbi_dirlock_release(b);
    close(ready[0]);
    close(ready[1]);
    char *none = nbt_join(dir, "none");
    NBT_FAILS(NB_NOTFOUND, "none", nbi_dirlock_take(none, &a, &err));
    nbi_free(none);
    nbt_tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_survive_faults),
        cmocka_unit_test(folders_survive_faults),
        cmocka_unit_test(folders_are_replaced_without_exchange),
        cmocka_unit_test(syncs_what_it_writes),
        cmocka_unit_test(kills_lose_nothing),
        cmocka_unit_test(memory_faults_lose_nothing),
        cmocka_unit_test(removes_only_stale_temporaries),
        cmocka_unit_test(refuses_odd_targets),
        cmocka_unit_test(leaves_links_alone),
        cmocka_unit_test(makes_folders),
        cmocka_unit_test(locks_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
