#!/usr/bin/env bash
# Trains, or fills a store, on several machines of a Slurm cluster by torchrun. For example:
#   sbatch --nodes=2 --gpus-per-node=8 scripts/slurm.sh train deit-tiny-imagenet \
#       --data-path /datasets/imagenet --batch-size 64 --output runs/deit-tiny
# Environment, data and `--output` lie on a file system that all machines share; submit where the
# environment is active. `--batch-size` is of one process; the learning rate follows the images of
# all of them.
#SBATCH --job-name=vkd
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
set -euo pipefail

# A job that was queued again goes on: training from its last checkpoint, a store where it stopped.
if [[ ${1:-} == train && ${SLURM_RESTART_COUNT:-0} -gt 0 ]]; then
  set -- "$@" --auto-resume
fi

head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# Two minutes before its time is up, or when it must make room, training saves and ends, and the job
# queues itself again. A second warning changes nothing.
warned() {
  trap "" USR1
  kill -TERM "$!" || true
  wait "$!" || true
  scontrol requeue "$SLURM_JOB_ID"
}
trap warned USR1
# Slurm 22.05 and later give srun's tasks one core unless it is told again.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 torchrun \
  --nnodes="$SLURM_JOB_NUM_NODES" \
  --nproc_per_node="${SLURM_GPUS_ON_NODE:-1}" \
  --rdzv_id="$SLURM_JOB_ID" \
  --rdzv_backend=c10d \
  --rdzv_endpoint="$head_node:$((20000 + SLURM_JOB_ID % 10000))" \
  -m vkd "$@" &
wait "$!"
