"""Values held still while their sources change."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from typing import TypeVar

import pytest
import torch

from pretrain.checkpoint.snapshot import HostBuffers, compact, replace_tensors, tensor_bytes

T = TypeVar("T")


def copy(value: T, buffers: HostBuffers) -> T:
    buffers.start()
    held: T = replace_tensors(value, buffers.take)
    buffers.fill()
    return held


def test_a_copy_holds_what_the_sources_held() -> None:
    weight, group = torch.arange(6.0).view(2, 3), {"lr": 0.1, "params": [0]}
    state = {"module": OrderedDict(a=weight, b=weight[0], c=torch.empty(0)), "groups": [group], "f": defaultdict(dict)}
    held = copy(state, HostBuffers())
    weight.add_(100)
    group["lr"] = 7
    assert held["module"]["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and held["module"]["b"].tolist() == [0, 1, 2]
    assert held["groups"] == [{"lr": 0.1, "params": [0]}] and held["f"]["new"] == {}
    assert held["module"]["c"].numel() == 0


def test_the_same_tensor_is_copied_once() -> None:
    weight = torch.ones(1000)
    state = {"embedding": weight, "head": weight, "view": weight.view(1000), "double": weight[:500]}
    held = copy(state, HostBuffers())
    assert held["embedding"] is held["head"] is held["view"]
    assert tensor_bytes(state) == 4000 + 2000


def test_buffers_are_used_again() -> None:
    buffers, addresses = HostBuffers(), []
    for value in range(3):
        held = copy([torch.full((10,), float(value)), torch.full((3,), value)], buffers)
        addresses.append([tensor.data_ptr() for tensor in held])
        assert held[0].tolist() == [value] * 10
    assert addresses[0] == addresses[1] == addresses[2]
    assert buffers.bytes() == 10 * 4 + 3 * 8


def test_buffers_follow_a_change_of_shape() -> None:
    buffers = HostBuffers()
    for size in (4, 6):
        assert copy(torch.arange(size), buffers).tolist() == list(range(size))


def test_what_may_change_is_known_to_who_waits() -> None:
    """Another thread copies; a tensor that cannot be copied does not keep training waiting for ever."""
    buffers, weight = HostBuffers(), torch.ones(3)
    buffers.wait()  # nothing is being copied
    buffers.start()
    held = replace_tensors([weight], buffers.take)
    waiting = threading.Thread(target=lambda: (buffers.wait(), weight.zero_()), daemon=True)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    buffers.fill()
    waiting.join(10)
    assert held[0].tolist() == [1, 1, 1] and weight.tolist() == [0, 0, 0]
    buffers.start()
    buffers.take(torch.ones(2))
    buffers._buffers[0].resize_(5)
    with pytest.raises(RuntimeError):
        buffers.fill()
    buffers.wait()


def test_a_part_is_written_without_the_whole() -> None:
    """torch.save would write the storage behind it."""
    whole = torch.arange(1000.0)
    assert compact(whole) is whole
    part = compact(whole[10:12])
    assert part.untyped_storage().nbytes() == 8 and part.tolist() == [10, 11]
