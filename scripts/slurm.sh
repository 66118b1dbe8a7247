#!/usr/bin/env bash
# Training on several machines by torchrun's rendezvous. Start with, for example:
#   sbatch --nodes=2 --gpus-per-node=8 scripts/slurm.sh deit-tiny-imagenet \
#       --data-path /datasets/imagenet --batch-size 64 --output runs/deit-tiny
# `--batch-size` is of one process; the learning rate follows the images of all of them.
#SBATCH --job-name=vkd
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --requeue
set -euo pipefail
head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun \
  --nnodes="$SLURM_JOB_NUM_NODES" \
  --nproc_per_node="${SLURM_GPUS_ON_NODE:-1}" \
  --rdzv_id="$SLURM_JOB_ID" \
  --rdzv_backend=c10d \
  --rdzv_endpoint="$head_node:29500" \
  -m vkd train "$@"
