#!/bin/bash
# From the docker image to the .sqsh that `srun --container-image` (pyxis) takes: bash launch/containers/enroot.sh OUT.sqsh
set -euo pipefail
enroot import --output "${1:?path of the .sqsh to write}" dockerd://pretrain:latest
