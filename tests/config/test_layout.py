"""The grid of processes."""

from pretrain.config.layout import Layout, data_processes, layout_of
from pretrain.config.parallel import Parallel
from tests.config.example import make_run


def test_the_data_axis_takes_what_is_left() -> None:
    assert layout_of(Parallel(tensor=8, pipe=16), 1024) == (16, 8, 8)
    assert layout_of(Parallel(), 6) == (1, 6, 1)
    assert data_processes(make_run(parallel={"tensor": 2, "pipe": 2}), 12) == 3


def test_tensor_is_innermost_and_pipe_outermost() -> None:
    layout = Layout(pipe=2, data=3, tensor=2)
    assert [layout.rank(0, 0, tensor) for tensor in range(2)] == [0, 1]
    assert [layout.rank(0, data, 1) for data in range(3)] == [1, 3, 5]
    assert [layout.rank(pipe, 2, 0) for pipe in range(2)] == [4, 10]
    assert layout.coordinate(9) == (1, 1, 1)


def test_every_rank_has_one_place() -> None:
    layout = Layout(pipe=3, data=4, tensor=2)
    places = [layout.coordinate(rank) for rank in range(layout.processes)]
    assert len(set(places)) == layout.processes == 24
    assert [layout.rank(*place) for place in places] == list(range(24))


def test_it_is_written_from_the_outside_in() -> None:
    assert str(Layout(2, 4, 8)) == "pipe 2 x data 4 x tensor 8"


def test_lines_are_what_groups_are_made_of() -> None:
    layout = Layout(pipe=2, data=2, tensor=2)
    assert layout.lines("tensor") == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert layout.lines("data") == [[0, 2], [1, 3], [4, 6], [5, 7]]
    assert layout.lines("pipe") == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_rank_map() -> None:
    assert Layout(pipe=2, data=2, tensor=4).rank_map() == ["pipe 0: ranks 0-3, 4-7", "pipe 1: ranks 8-11, 12-15"]
    assert Layout(pipe=1, data=3, tensor=1).rank_map() == ["pipe 0: ranks 0, 1, 2"]
    assert Layout(pipe=1, data=99, tensor=1).rank_map()[0].endswith("14, 15, ...")
