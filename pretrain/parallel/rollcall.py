"""Who has arrived: ranks meet at a key-value store before they form the process group, and those missing are named."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import timedelta

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from pretrain.config.errors import RunError

ARRIVAL = timedelta(minutes=10)
"""A rank that has not arrived by then is missing. A busy file system takes minutes to import torch."""


def open_store(environment: Mapping[str, str], rank: int, arrival: timedelta = ARRIVAL) -> Store:
    """The store at MASTER_ADDR:MASTER_PORT, served by torchrun's agent or else by rank 0.

    Raises RunError when nobody serves it in time.
    """
    by_agent = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    host, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    serves = rank == 0 and not by_agent
    try:
        store = TCPStore(host, port, None, serves, arrival, wait_for_workers=False, multi_tenant=True)
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        if serves:
            raise RunError(f"rank 0 cannot listen at port {port} of {host}, where all should meet: {error}") from None
        raise RunError(f"rank {rank} found nobody at {host}:{port}, where rank 0 should be: {error}") from None
    attempt = environment.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun keeps one store over its restarts
    return PrefixStore(f"pretrain/{attempt}", store)


def await_everyone(store: Store, rank: int, size: int, arrival: timedelta = ARRIVAL) -> None:
    """Wait until all ranks have arrived. Raises RunError with the ranks that have not."""
    store.set(f"arrived/{rank}", "")
    with contextlib.suppress(dist.DistStoreError):
        store.wait([f"arrived/{other}" for other in range(size)], arrival)
        return
    missing = [other for other in range(size) if not store.check([f"arrived/{other}"])]
    raise RunError(
        f"{name_ranks(missing)} of {size} did not start within {arrival.seconds} s; its own output says why, "
        f"or the launcher started fewer processes"
    )


def name_ranks(ranks: list[int]) -> str:
    """`rank 3`, or `ranks 1, 2 and 30 more`."""
    shown = ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}"
