#!/bin/bash
# @{name}, rendered by `pretrain launch`. It can be edited, and run by hand: bash @{directory}/launch.sh@{usage}
cd @{workdir}
@{preparation}

# saves on Ctrl-C, starts again when a rank dies
exec @{supervise} -- \
    @{command}
