#!/bin/bash
# A command of this project on the nodes of a SLURM job, for as many turns as it takes:
#
#     sbatch deploy/slurm.sh sweep --space search_spaces/mosi.yaml
#
# Submit it in the folder where the command would run, on a disk that all nodes see; BIN is where
# its programs are. Before the time is up SLURM sends USR1: the command ends, nothing is lost, and
# the job goes back into the queue under its number, until the command is done. What the nodes must
# have, and what was seen: docs/cluster.md.
#SBATCH --job-name=cmir
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=cmir-%j.log
# For nodes with GPUs, as an option of sbatch or here: --gpus-per-node=4
set -euo pipefail

export BIN=${BIN:-$PWD/.venv/bin}
# Several jobs may share a node: each has a port and a folder of its own.
port=$((20000 + SLURM_JOB_ID % 10000))
export RAY_FOLDER=/tmp/ray-$SLURM_JOB_ID RAY_LOG=$PWD/cmir-$SLURM_JOB_ID-ray.log
# Nobody else on this network may run code here: Ray wants the token in ~/.ray of whoever joins.
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 RAY_worker_niceness=0
# A node without power is noticed within 15 seconds.
export RAY_health_check_initial_delay_ms=0 RAY_health_check_period_ms=1000
export RAY_health_check_timeout_ms=2000 RAY_health_check_failure_threshold=3

# The address by which SLURM itself reaches the first node, on which this script runs.
name=$(scontrol show node "$SLURMD_NODENAME" -o | grep -o 'NodeAddr=[^ ]*' | cut -d= -f2)
head=${HEAD_ADDRESS:-$(getent ahostsv4 "$name" | awk 'NR == 1 {print $1}')}
export ADDRESS=$head:$port

say() { echo "$(date +%T) job $SLURM_JOB_ID, start $((1 + ${SLURM_RESTART_COUNT:-0})): $*"; }

start_node() { # Ray on a node, with what SLURM has given this job there, until it is ended.
    exec "$BIN/ray" start --block --num-cpus="$SLURM_CPUS_PER_TASK" \
        --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --temp-dir="$RAY_FOLDER" "$@" >>"$RAY_LOG" 2>&1
}
export -f start_node

clean_up() {
    trap - EXIT
    jobs -p | xargs --no-run-if-empty kill 2>/dev/null || true
    wait || true
    srun --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" rm -rf "$RAY_FOLDER" || true
}
trap clean_up EXIT

is_time_up=
command=
on_time_up() {
    say "the time is nearly up"
    is_time_up=yes
    # There is nothing to end where it has not begun.
    [[ -z $command ]] || kill -TERM "$command" || true
}
trap on_time_up USR1

say "nodes $SLURM_JOB_NODELIST, Ray's head $ADDRESS: cmir $*"
"$BIN/ray" get-auth-token --generate >/dev/null 2>>"$RAY_LOG"
start_node --head --node-ip-address="$head" --port="$port" --include-dashboard=false &
ray=$!
until "$BIN/ray" health-check --address "$ADDRESS" >/dev/null 2>&1; do
    kill -0 "$ray" 2>/dev/null || { say "Ray does not start here, see $RAY_LOG"; exit 1; }
    sleep 1
done
if ((SLURM_NNODES > 1)); then
    # Nothing waits for the others: whoever joins late is used from then on.
    # shellcheck disable=SC2016 # The node fills it in.
    srun --relative=1 --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) \
        --cpus-per-task="$SLURM_CPUS_PER_TASK" bash -c 'start_node --address="$ADDRESS"' &
fi

code=130
if [[ -z $is_time_up ]]; then
    RAY_ADDRESS=$ADDRESS "$BIN/cmir" "$@" &
    command=$!
    code=0
    wait "$command" || code=$?
    # A signal ends the waiting, not the command: that is asked for its own code.
    [[ -z $is_time_up ]] || { code=0; wait "$command" || code=$?; }
fi
say "the command ended with $code"
clean_up
if [[ -n $is_time_up && $code == 130 ]]; then
    say "back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
