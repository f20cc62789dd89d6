#!/usr/bin/env bash
# What a GPU does with SpFDE, in under 9 minutes: benchmarks/gpu.py's table, then the open cells of a sweep.
#
#   benchmarks/gpu.sh [--device auto|cuda|cuda:N|cpu] [--tiny] [SWEEP [SECONDS]]
#
# SWEEP (A10) is trained into results/gpu for SECONDS (210); the same command goes on where it stopped. CIFAR is read
# from the folder in SPFDE_DATA (the sweep needs it, the measurements take random images without it). PYTHON names the
# interpreter. Without a GPU, or with --tiny, every stage runs in small, and the sweep on digits in a folder of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
measure_s=280

device=auto tiny= names=()
while (($#)); do
    case $1 in
        --device) device=${2:?--device takes auto, cuda, cuda:N or cpu}; shift 2 ;;
        --tiny) tiny=--tiny; shift ;;
        -*) echo "unknown option $1; usage: benchmarks/gpu.sh [--device D] [--tiny] [SWEEP [SECONDS]]" >&2; exit 2 ;;
        *) names+=("$1"); shift ;;
    esac
done
sweep=${names[0]:-A10} sweep_s=${names[1]:-210}
[[ -f sweeps/$sweep.yaml ]] || { echo "sweep '$sweep' is unknown; sweeps/ lists them" >&2; exit 2; }

if [[ $device == auto ]]; then
    device=cuda
    if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
        echo "no usable GPU: every stage runs in small on the CPU, to test this script and nothing else"
        device=cpu
    fi
fi
settings=(device="$device" logger=none)
if [[ $device == cpu || $tiny ]]; then
    tiny=--tiny
    runs=$(mktemp -d)
    trap 'rm -rf "$runs"' EXIT
    settings+=(recipe=digits debug=tiny seed=0)
else
    runs=results/gpu
fi

status=0
timeout --signal=INT --kill-after=20 $measure_s "$python" benchmarks/gpu.py --device "$device" $tiny || status=$?
case $status in
    0) ;;
    124 | 137) echo "the measurements took more than $measure_s s and were cut off" ;;
    *) exit $status ;;
esac

echo
echo "sweep $sweep into $runs, for at most $sweep_s s"
status=0
timeout --signal=INT --kill-after=20 "$sweep_s" \
    "$python" -m spfde_exp -m "+sweep=$sweep" "${settings[@]}" "runs_dir=$runs" || status=$?
done_runs=$(find "$runs" -name summary.json 2>/dev/null | wc -l)
case $status in
    124 | 137) echo "time is up with $done_runs runs done; the same command goes on"; exit 0 ;;
    *) echo "$done_runs runs done"; exit $status ;;
esac
