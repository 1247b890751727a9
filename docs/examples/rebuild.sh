#!/bin/sh
# Rebuilds the example modules from their C sources.
#
#   rebuild.sh           build every module and put it beside its source
#   rebuild.sh --check   build into a temporary folder and compare with the
#                        modules kept here; changes nothing
#   rebuild.sh --record  write the installed compiler's versions to TOOLCHAIN,
#                        then build
#
# The same compiler gives the same bytes from any folder, so a reader can check
# that each .wasm comes from the source beside it. Another compiler than the one
# in TOOLCHAIN is an error, never a skipped check.
#
# Exit: 0 all equal (or built); 1 a module differs, is missing or does not
# compile; 2 wrong arguments; 3 another toolchain than the one recorded.
#
# Needs Debian's clang, lld, wasi-libc and libclang-rt-14-dev-wasm32.
set -eu
LC_ALL=C
export LC_ALL
unset CPATH C_INCLUDE_PATH LIBRARY_PATH SOURCE_DATE_EPOCH CCC_OVERRIDE_OPTIONS 2>/dev/null || :

here=$(cd -- "$(dirname -- "$0")" && pwd -P)
recorded_file=$here/TOOLCHAIN

# The compiler's own first line, then each package with its version.
installed_toolchain() {
    if command -v clang >/dev/null 2>&1; then
        clang --version | head -n 1
    else
        echo "clang: not installed"
    fi
    for package in clang lld wasi-libc libclang-rt-14-dev-wasm32; do
        version=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null) || version=
        echo "$package ${version:-not installed}"
    done
}

one_line() { paste -s -d ';' - | sed 's/;/; /g'; }

check_toolchain() {
    found=$(installed_toolchain)
    recorded=$(cat "$recorded_file" 2>/dev/null) || recorded="nothing (no TOOLCHAIN file)"
    if [ "$found" != "$recorded" ]; then
        echo "examples.toolchain: found $(printf '%s\n' "$found" | one_line)," \
             "recorded $(printf '%s\n' "$recorded" | one_line)" >&2
        exit 3
    fi
}

# compile SOURCE OUTPUT FLAGS...: runs in this folder with relative names, and
# strips names and debug sections, so that no path gets into the module.
compile() {
    source=$1
    output=$2
    shift 2
    (cd "$here" && clang --target=wasm32-wasi -mexec-model=command -std=c11 \
        -Wall -Wextra -Werror -g0 -fno-ident "-ffile-prefix-map=$here=." \
        -Wl,--strip-all -Wl,--gc-sections "$@" "$source" -o "$output")
}

# The modules, and how each is compiled into folder $1.
modules="path-tracer/tile word-count/wc noop/noop noop/spin"
build() {
    into=$1
    for module in $modules; do
        mkdir -p "$into/$(dirname "$module")"
        case $module in
        path-tracer/tile) flags="-O3 -fno-math-errno -fno-trapping-math" ;;
        noop/noop) flags="-Os -nostdlib -Wl,-z,stack-size=16" ;;
        *) flags="-O2" ;;
        esac
        # shellcheck disable=SC2086  # flags are words
        if ! compile "$module.c" "$into/$module.wasm" $flags; then
            echo "examples.build: $module.c does not compile" >&2
            exit 1
        fi
    done
}

case "$#${1-}" in
0) check_toolchain ;;
1--check) check_toolchain ;;
1--record) installed_toolchain >"$recorded_file" ;;
*)
    echo "usage: rebuild.sh [--check | --record]" >&2
    exit 2
    ;;
esac

scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
build "$scratch"

status=0
for module in $modules; do
    kept=$here/$module.wasm
    fresh=$scratch/$module.wasm
    if [ "${1-}" != --check ]; then
        # Put in place by a rename: nobody ever sees half a module.
        cp -- "$fresh" "$kept.part" && chmod 644 "$kept.part" && mv -f -- "$kept.part" "$kept"
        echo "built $module.wasm $(wc -c <"$kept") bytes"
    elif [ ! -f "$kept" ]; then
        echo "examples.missing: $module.wasm is not there" >&2
        status=1
    elif cmp -s -- "$fresh" "$kept"; then
        echo "OK $module.wasm"
    else
        echo "examples.differs: $module.wasm is not what $module.c compiles to" >&2
        status=1
    fi
done
exit "$status"
