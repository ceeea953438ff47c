#!/bin/bash
# Features of a folder of slides by ten jobs with a GPU each: sbatch examples/slurm_array.sh slides/
#SBATCH --job-name=gimp-features
#SBATCH --array=0-9
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=9
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --requeue

# --offline: weights are in the cache (a first slide on the login node fetches them).
# exec: the time limit's SIGTERM reaches gimp itself, which then ends in order.
exec gimp extract-features "${1:?give the folder of slides}" \
    --output features \
    --shard "${SLURM_ARRAY_TASK_ID}/${SLURM_ARRAY_TASK_COUNT}" \
    --device cuda --num-workers 8 --offline
