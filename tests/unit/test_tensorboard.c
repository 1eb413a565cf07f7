/* SPDX-License-Identifier: MIT */
/* Event files: checksums, tags, records that read back, and what a failing disk does. The file that
 * the reference made is read in tests/oracle/test_oracle_trainer.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "base/io.h"
#include "testutil.h"
#include "event_reader.h"

static void crc_and_tags(void **state)
{
    (void)state;
    char buf[96], name[200];
    /* RFC 3720, B.4: 32 zero bytes, 32 bytes of ones, 0..31; unmasked */
    uint8_t bytes[32] = {0};
    static const uint32_t known[] = {0x8a9136aa, 0x62a8ab43, 0x46dd794e};
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 32; j++)
            bytes[j] = (uint8_t)(i == 0 ? 0 : i == 1 ? 255 : j);
        uint32_t c = nbi_tensorboard_crc(bytes, 32) - 0xa282ead8u;
        assert_int_equal((c >> 17) | (c << 15), known[i]);
    }
    assert_string_equal(nbi_tensorboard_tag("loss", buf), "train/loss");
    assert_string_equal(nbi_tensorboard_tag("eval_loss", buf), "eval/loss");
    assert_string_equal(nbi_tensorboard_tag("train_runtime", buf), "train/train_runtime");
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_null(nbi_tensorboard_tag(name, buf));
}

static void add_entry(nbi_history *h, int64_t step, double loss)
{
    nb_error err = {0};
    NBT_OK(nbi_history_begin(h, NBI_ENTRY_TRAIN, step, (double)step / 4, &err));
    NBT_OK(nbi_history_add(h, "loss", loss, false, &err));
    NBT_OK(nbi_history_add(h, "eval_loss", 0, false, &err));
}

static void records(void **state)
{
    (void)state;
    char *dir = nbt_tmpdir();
    nbi_history h;
    nbi_history_init(&h);
    add_entry(&h, 3, NAN);
    add_entry(&h, INT64_C(5000000000), 1.5);
    nbi_tensorboard *t = nbi_tensorboard_open(dir, 0, NULL);
    assert_non_null(t);
    nbi_tensorboard_entry(t, &h, &h.entries.v[0]);
    nbi_tensorboard_text(t, "args/text_summary", 0, "{\"a\": 1}");
    /* whole records are in the file at once */
    event_scalars s = read_run_events(dir);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.texts, 1);
    assert_true(isnan(s.v[0].value) && s.v[0].step == 3);
    /* zero is written too */
    assert_string_equal(s.v[1].tag, "eval/loss");
    assert_true(s.v[1].value == 0);
    assert_string_equal(s.v[2].tag, "train/epoch");
    assert_true(s.v[2].value == 0.75f);
    /* a run that goes on has another file in the same folder, which starts behind its step */
    nbi_tensorboard *again = nbi_tensorboard_open(dir, 3, NULL);
    nbi_tensorboard_entry(again, &h, &h.entries.v[1]);
    s = read_run_events(dir);
    assert_int_equal(s.files, 2);
    assert_int_equal(s.folders, 1);
    assert_int_equal(s.n, 6);
    assert_int_equal(s.started, 4);
    assert_true(s.v[3].step == INT64_C(5000000000) && s.v[3].value == 1.5f);
    nbi_tensorboard_close(&again);
    nbi_tensorboard_close(&t);
    assert_null(t);
    nbi_history_free(&h);
    nbt_tmpdir_remove(dir);
}

static void count_line(void *user, nb_log_level level, const char *line)
{
    int *n = user;
    assert_int_equal(level, NB_LOG_WARN);
    assert_non_null(strstr(line, "training goes on"));
    ++*n;
}

/* A full disk is said once, and the file ends with a whole record. */
static void full_disk(void **state)
{
    (void)state;
    int said = 0;
    nb_log log = {count_line, &said};
    char *dir = nbt_tmpdir();
    nbi_history h;
    nbi_history_init(&h);
    add_entry(&h, 1, 2);
    nbi_tensorboard *t = nbi_tensorboard_open(dir, 0, &log);
    nbi_tensorboard_entry(t, &h, &h.entries.v[0]);
    nbi_io_fail_at(1, NBI_IO_FAULT_SHORT, ENOSPC, true);
    nbi_tensorboard_entry(t, &h, &h.entries.v[0]);
    nbi_tensorboard_entry(t, &h, &h.entries.v[0]);
    nbi_io_fail_at(0, NBI_IO_FAULT_ERRNO, 0, false);
    nbi_tensorboard_entry(t, &h, &h.entries.v[0]);
    nbi_tensorboard_close(&t);
    assert_int_equal(said, 1);
    assert_int_equal(read_run_events(dir).n, 3);
    nbi_io_fail_at(1, NBI_IO_FAULT_ERRNO, EACCES, true);
    assert_null(nbi_tensorboard_open(dir, 0, &log));
    nbi_io_fail_at(0, NBI_IO_FAULT_ERRNO, 0, false);
    assert_int_equal(said, 2);
    /* every allocation failed once: no leak, no crash */
    for (uint64_t k = 1; k < 40; k++) {
        nbi_alloc_fail_at(k, false);
        t = nbi_tensorboard_open(dir, 0, NULL);
        nbi_tensorboard_entry(t, &h, &h.entries.v[0]);
        nbi_alloc_fail_at(0, false);
        nbi_tensorboard_close(&t);
    }
    nbi_history_free(&h);
    nbt_tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(crc_and_tags), cmocka_unit_test(records),
                                       cmocka_unit_test(full_disk)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
