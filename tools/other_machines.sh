#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the C tests as a program of 32 bits (i686) and on a big-endian machine (s390x, emulated).
# Debian's cross compilers and qemu have to be here; the libraries of those machines are unpacked
# into a folder (FOLDER=, else a temporary one), and nothing of theirs is installed.
#   tools/other_machines.sh [i386|s390x...]
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- i386 s390x
folder=${FOLDER:-$(mktemp -d /tmp/ptio-machines-XXXXXX)}
[ -n "${FOLDER:-}" ] || trap 'rm -rf "$folder"' EXIT
libraries=(libc6 libgcc-s1 libzip4 libzip-dev zlib1g zlib1g-dev libdeflate0 libdeflate-dev
    libbz2-1.0 liblzma5 libzstd1 libssl3)

need() { # PROGRAM PACKAGE...
    command -v "$1" >/dev/null || { echo "$1 is missing: apt-get install ${*:2}" >&2; exit 1; }
}

fetch() { # MACHINE: its libraries, into $folder/MACHINE
    [ ! -e "$folder/$1/.complete" ] || return 0
    mkdir -p "$folder/$1" "$folder/lists/partial" "$folder/archives/partial"
    local apt=(apt-get -qq -o "APT::Architectures::=$1" -o "Dir::State::Lists=$folder/lists"
        -o "Dir::Cache=$folder" -o APT::Sandbox::User=)
    "${apt[@]}" update || true # of several lists one may be out of order
    (cd "$folder/archives" && "${apt[@]}" download "${libraries[@]/%/:$1}" >/dev/null)
    for package in "$folder"/archives/*_"$1".deb; do dpkg -x "$package" "$folder/$1"; done
    touch "$folder/$1/.complete"
}

run() { # MACHINE COMPILER EMULATOR...
    mkdir -p "$folder/$1-tests"
    echo "== C tests on $1"
    EMULATOR="${*:3}" OUT=$folder/$1-tests \
        CC="$2 -D_FILE_OFFSET_BITS=64 -I$root/usr/include -I$root/usr/include/$1-linux-gnu
            -L$root/usr/lib/$1-linux-gnu -L$root/lib/$1-linux-gnu -Wl,-rpath-link,$paths" tests/c/run.sh
}

for machine; do
    root=$folder/$machine
    paths=$root/usr/lib/$machine-linux-gnu:$root/lib/$machine-linux-gnu
    case $machine in
    i386)
        need i686-linux-gnu-gcc gcc-i686-linux-gnu libc6-dev-i386-cross
        fetch i386
        run i386 i686-linux-gnu-gcc "$root/lib/ld-linux.so.2" --library-path "$paths"
        ;;
    s390x)
        need s390x-linux-gnu-gcc gcc-s390x-linux-gnu libc6-dev-s390x-cross
        need qemu-s390x-static qemu-user-static
        fetch s390x
        run s390x s390x-linux-gnu-gcc qemu-s390x-static -L "$root" -E "LD_LIBRARY_PATH=$paths"
        ;;
    *) echo "$machine: i386 and s390x are known" >&2; exit 2 ;;
    esac
done
