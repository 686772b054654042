#!/bin/bash
# One rank of @{name}: `rank.sh ATTEMPT`, run by the launcher once per process. Its output goes to a file of its own.
cd @{workdir}
@{preparation}

rank=$(printf %05d "${RANK:-${OMPI_COMM_WORLD_RANK:-0}}")
exec @{train} >> @{directory}/logs/attempt-"$1".rank-"$rank".log 2>&1
