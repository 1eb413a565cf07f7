#!/bin/sh
# Installs what nibble is built and tested with. Debian and Ubuntu: from their packages; elsewhere it
# names what is missing. --check only tells.
set -eu
packages="gcc libc6-dev pkg-config meson ninja-build libyaml-dev libpcre2-dev libutf8proc-dev libcsv-dev
 libprotobuf-c-dev libssl-dev libedit-dev libcmocka-dev"
# what each package is needed for, by a file or tool that shows it is there
missing=""
for p in $packages; do
    case $p in
    gcc) command -v gcc >/dev/null 2>&1 || missing="$missing gcc" ;;
    pkg-config) command -v pkg-config >/dev/null 2>&1 || missing="$missing pkg-config" ;;
    meson) command -v meson >/dev/null 2>&1 || missing="$missing meson" ;;
    ninja-build) command -v ninja >/dev/null 2>&1 || missing="$missing ninja-build" ;;
    libc6-dev) [ -e /usr/include/stdio.h ] || missing="$missing libc6-dev" ;;
    libcsv-dev) [ -e /usr/include/csv.h ] || missing="$missing libcsv-dev" ;;
    libyaml-dev) pkg-config --exists yaml-0.1 2>/dev/null || missing="$missing $p" ;;
    libpcre2-dev) pkg-config --exists libpcre2-8 2>/dev/null || missing="$missing $p" ;;
    libutf8proc-dev) pkg-config --exists libutf8proc 2>/dev/null || missing="$missing $p" ;;
    libprotobuf-c-dev) pkg-config --exists libprotobuf-c 2>/dev/null || missing="$missing $p" ;;
    libssl-dev) pkg-config --exists libcrypto 2>/dev/null || missing="$missing $p" ;;
    libedit-dev) pkg-config --exists libedit 2>/dev/null || missing="$missing $p" ;;
    libcmocka-dev) pkg-config --exists cmocka 2>/dev/null || missing="$missing $p" ;;
    esac
done
[ -n "$missing" ] || exit 0
if [ "${1:-}" = --check ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "missing (names of Debian's packages):$missing" >&2
    exit 1
fi
sudo=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "missing:$missing; run as root: apt-get install$missing" >&2
        exit 1
    }
    sudo=sudo
fi
echo "installing:$missing"
$sudo apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
