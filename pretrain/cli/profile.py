"""pretrain profile RUN.yaml [key=value ...]"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pretrain.cli.config import Overrides, RunFile

Steps = Annotated[int, typer.Option(min=1, help="Steps that are recorded.")]
Warmup = Annotated[int, typer.Option(min=0, help="Steps before them that are not.")]
Out = Annotated[Path | None, typer.Option(help="Directory of what is written. Default: profile/ in the run's.")]
Shapes = Annotated[bool, typer.Option("--shapes", help="Tell operators apart by the shapes of their inputs.")]
Nvtx = Annotated[bool, typer.Option("--nvtx", help="NVTX ranges for nsys profile -c cudaProfilerApi, nothing else.")]


def profile(
    run: RunFile,
    overrides: Overrides = None,
    steps: Steps = 3,
    warmup: Warmup = 2,
    out: Out = None,
    shapes: Shapes = False,
    nvtx: Nvtx = False,
) -> None:
    """Where the time of a step goes: trace, dearest operators, memory, time of each part. Leaves the run as it is.

    In several processes: torchrun --nproc_per_node 2 -m pretrain.profile RUN.yaml
    """
    from pretrain.entry import or_exit
    from pretrain.profiling import start

    or_exit(lambda: start.profile(run, overrides or [], start.Asked(steps, warmup, out, shapes, nvtx)))
