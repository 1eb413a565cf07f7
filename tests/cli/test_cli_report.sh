#!/bin/sh
# SPDX-License-Identifier: MIT
# What a run shows: report.html, event files, nibble report. usage: test_cli_report.sh NIBBLE EXAMPLE
here=$(dirname "$(realpath "$0")")
. "$here/cli_lib.sh"
make_files

train="$nibble train --model model --data rows.jsonl --eval_data rows.jsonl --threads 1 --logging_steps 1 --per_device_train_batch_size 2 --gradient_accumulation_steps 1 --max_steps 6 --eval_steps 2"
expect 0 'saved in one' $train --learning_rate 1e-3 --output_dir one
expect 0 'saved in two' $train --learning_rate 2e-3 --output_dir two --report_to none --report_html false
check 'a table of losses' test "$(grep -c -E '^ +[0246]  +[0-9.]+  +[0-9.-]+  +[0-9.]+$' out.txt)" = 4
check 'a page' grep -q '</html>' one/report.html
check 'the page says that the run is through' grep -q '<p class="soft">finished' one/report.html
for what in Loss 'Learning rate' 'Gradient norm' Speed 'Memory by use'; do
    check "$what in the page" grep -q "<figcaption><b>$what</b>" one/report.html
done
check 'event files' test "$(find one/runs -name 'events.out.tfevents.*' | wc -l)" = 1
check 'none when not wanted' [ ! -e two/runs ]
check 'no page when not wanted' [ ! -e two/report.html ]
check 'the page changes nothing' test "$(grep -c '"loss"' one/train_log.jsonl)" = "$(grep -c '"loss"' two/train_log.jsonl)"

# tables
LC_ALL=C expect 0 '^one .* 6 ' "$nibble" report one two
check 'settings that differ' grep -q -E '^learning_rate +0.001  0.002$' out.txt
check 'ASCII in this locale' test "$(LC_ALL=C tr -d '\n -~' <out.txt | wc -c)" = 0
check 'curves' grep -q '^training loss, ' out.txt
expect 0 '^one/train_log.jsonl .* 6 ' "$nibble" report one/train_log.jsonl --width 60
expect 0 '^\{"runs": \[\{"run": "one", "state": "finished", "steps": 6, "total_steps": 6, ' "$nibble" report one two --json
one_line
expect 0 '^wrote both.html$' "$nibble" report one two --html both.html
check 'a page of both' grep -q '<h1>2 runs</h1>' both.html
check 'a legend' grep -q 'k2"></i>two</li>' both.html

# runs that stand still or go on: a cut log
head -c $(($(wc -c <one/train_log.jsonl) - 400)) one/train_log.jsonl >cut.jsonl
expect 0 'not finished' "$nibble" report cut.jsonl
expect 2 'takes the output folders' "$nibble" report
expect 9 'nowhere' "$nibble" report one nowhere
one_line
echo '{"step": 1' >bad.jsonl
echo '{"step": 1}' >>bad.jsonl
expect 5 'bad.jsonl: line 1' "$nibble" report bad.jsonl
"$nibble" report one two 2>out.txt | head -1 >/dev/null
check 'a reader that leaves is no crash' test "$(grep -c -v '^nibble: ' out.txt)" = 0

# a page that cannot be written is said once, and the training goes on
mkdir -p three/report.html/x
expect 0 'saved in three' $train --output_dir three
check 'said once' test "$(grep -c 'report.html' out.txt)" = 1
# on_event: start, evaluations, saves, end; failures too
expect 0 'saved in six' $train --output_dir six --save_steps 3 --on_event 'cat >>events.jsonl'
check 'one start' test "$(grep -c '^{"event": "start", "output_dir": "six", "step": 0, "total_steps": 6, ' events.jsonl)" = 1
check 'evaluations' test "$(grep -c '^{"event": "eval", .*"eval_loss": ' events.jsonl)" = 3
check 'saves' grep -q '^{"event": "save", .*"path": "six/checkpoint-3"' events.jsonl
check 'one end' test "$(grep -c '^{"event": "end", .*"step": 6, .*"exit_code": 0}$' events.jsonl)" = 1
rm events.jsonl
expect 9 'nowhere' $train --output_dir seven --data nowhere --on_event 'cat >>events.jsonl'
check 'an error' grep -q '^{"event": "error", .*"message": "nowhere.*"exit_code": 9}$' events.jsonl
expect 0 'on_event: the command failed.*(7)' $train --output_dir eight --on_event 'exit 7'
check 'said once' test "$(grep -c 'on_event' out.txt)" = 1

# nobody reads what is printed
$train --output_dir four 2>&1 | head -1 >/dev/null
check 'a run whose reader left ends well' grep -q train_runtime four/train_log.jsonl
$train --output_dir five >&- 2>&-
check 'a run without standard files ends well' grep -q train_runtime five/train_log.jsonl
finish
