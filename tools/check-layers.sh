#!/bin/sh
# Fails when an #include points upward or sideways in the table of layers (docs/architecture.md), or a
# file name is used twice.
set -eu
cd "$(dirname "$0")/.."
exec awk '
function allow(dir, list,   n, a, i) { n = split(list, a, " "); for (i = 1; i <= n; i++) ok[dir, a[i]] = 1; ok[dir, dir] = 1; known[dir] = 1; ok[dir, "nibble"] = 1 }
BEGIN {
    allow("base", ""); allow("device", "base"); allow("tensor", "base device")
    low = "base device tensor"
    allow("kernel", low); allow("format", low); allow("text", low); allow("comm", low)
    allow("nn", low " kernel"); allow("optim", low " kernel"); allow("data", low " text")
    m = low " kernel format text nn"
    allow("model", m); allow("adapter", m " model")
    g = m " optim data model adapter"
    allow("generate", g); allow("train", g " generate")
    bad = 0
    while (("git ls-files -co --exclude-standard src cli include" | getline file) > 0) {
        if (file !~ /\.[ch]$/ || (getline line < file) < 0) continue # deleted, not committed yet
        close(file)
        n = split(file, part, "/"); name = part[n]
        if (file !~ /^include/ && (name in seen)) { print file ": the name is used by " seen[name] " too"; bad = 1 }
        if (file !~ /^include/) seen[name] = file
        dir = part[1] == "src" ? part[2] : part[1]
        while ((getline line < file) > 0) {
            if (line !~ /^[ \t]*#[ \t]*include[ \t]*"/) continue
            inc = line; sub(/^[^"]*"/, "", inc); sub(/".*/, "", inc)
            k = split(inc, ip, "/")
            target = k > 1 ? ip[1] : dir
            if (dir == "cli" || dir == "server" || dir == "include") fine = (target == dir || target == "nibble")
            else fine = ((dir SUBSEP target) in ok)
            if (!fine) { print file ": " dir " may not include " inc; bad = 1 }
        }
        close(file)
    }
    exit bad
}' </dev/null
