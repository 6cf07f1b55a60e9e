#!/bin/sh
# Builds the fuzzers of the native server with ASan and UBSan and runs each for SECONDS (default 60). Fails on a finding, which
# is kept as crash-* in the work folder. New inputs go to the work folder; the kept corpus is only read.
#   tests/fuzz/native/run.sh 600
set -eu
seconds=${1:-60}
here=$(cd "$(dirname "$0")" && pwd)
native=$here/../../../edge/edgeloop_node/native
work=${FUZZ_WORK:-$here/../../../.edgeloop/fuzz}
cc=${CC:-clang}
python=${PYTHON:-python3}
mkdir -p "$work"
"$python" "$here/data.py" "$work"
for name in http json number; do
    sources=$(ls "$native"/*.c | grep -v -e /main.c)
    # shellcheck disable=SC2086
    "$cc" -g -O1 -std=gnu11 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
        -I "$work" -I "$here" -I "$native" "$here/${name}_fuzzer.c" $sources "$here/model.c" "$work/data.c" -lm -o "$work/$name"
done
for name in http json number; do
    mkdir -p "$work/found-$name"
    echo "fuzzing $name for $seconds s"
    "$work/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=8192 -print_final_stats=1 \
        -dict="$here/words.dict" -artifact_prefix="$work/crash-$name-" "$work/found-$name" "$here/corpus/$name" \
        2>"$work/$name.log" || { tail -40 "$work/$name.log"; exit 1; }
    grep -E 'stat::number_of_executed_units|stat::new_units_added|DONE' "$work/$name.log" || true
done
echo "no finding"
