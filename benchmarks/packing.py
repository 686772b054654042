"""Best-fit packing of ten million documents: python -m benchmarks.packing [documents]

Lengths are log-normal (median 403, mean 830 tokens), samples have 2,048 tokens. Each measurement is a cold process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median

SEQUENCE_LENGTH = 2048
TIMES = 3


def measure(documents: int) -> dict[str, float]:
    """Processor seconds of packing, largest memory of the process in MB, padding and cut documents as shares."""
    import resource
    import time

    import numpy as np

    from pretrain.corpus.packing import pack

    lengths = np.clip(np.random.default_rng(0).lognormal(6, 1.2, documents), 2, None).astype(np.int64)
    started = time.process_time()
    bins = pack(lengths, SEQUENCE_LENGTH)
    return {
        "processor seconds": time.process_time() - started,
        "memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "padding, share of tokens": float(bins.padding.sum()) / (bins.count * bins.capacity),
        "documents cut, share": bins.cut_documents / documents,
        "documents longer than a sample, share": float((lengths > SEQUENCE_LENGTH + 1).mean()),
    }


def main() -> None:
    """Print the medians."""
    documents = sys.argv[1] if len(sys.argv) > 1 else "10_000_000"
    code = f"import json; from benchmarks.packing import measure; print(json.dumps(measure(int('{documents}'))))"
    runs = [json.loads(subprocess.check_output([sys.executable, "-c", code])) for _ in range(TIMES)]
    for name in runs[0]:
        print(f"{name:40} {median(run[name] for run in runs):.6g}")


if __name__ == "__main__":
    main()
