#!/usr/bin/env bash
# 40 runs on a private Slurm that are put back, cancelled, preempted, cut off at their time limit and lose their node,
# against the same runs trained locally, bit for bit. About 8 minutes on two cores.
#
#   benchmarks/slurm.sh [--tiny] [--keep DIR]
#
# Needs Debian's packages slurmctld slurmd slurm-client munge; no cluster, and no service running. PYTHON names the
# interpreter.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" "$root/benchmarks/slurm.py" "$@"
