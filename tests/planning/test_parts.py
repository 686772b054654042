"""What one rank holds."""

from pretrain.config.counts import parameter_count
from pretrain.planning.parts import Parts, layers_of, parts_of
from tests.config.example import make_run


def test_one_process_holds_the_model() -> None:
    run = make_run(model={"vocab_size": 200})
    parts = parts_of(run, 0)
    count = parameter_count(run.model)
    assert parts.total == count.stored and parts.padding == count.padding


def test_a_tensor_rank_by_hand() -> None:
    """2 layers of 64 over 2 ranks; 256 + 128 rows; biases: 3 C + 4 C cut, 2 C and 4 C of norms not."""
    run = make_run(model={"vocab_size": 256}, parallel={"tensor": 2})
    cut = (2 * 12 * 64**2 + (256 + 128) * 64) // 2
    assert parts_of(run, 0) == Parts(cut, 2 * 7 * 64 // 2, 2 * 6 * 64 + 2 * 64, 0)


def test_the_last_stage_has_a_copy_of_a_tied_table() -> None:
    run = make_run(model={"vocab_size": 256, "layers": 4}, parallel={"pipe": 2})
    count = parameter_count(run.model)
    assert parts_of(run, 0).total + parts_of(run, 1).total == count.stored + 256 * 64


def test_dualpipev_has_both_ends_on_the_first_rank() -> None:
    run = make_run(model={"vocab_size": 256, "layers": 8}, parallel={"pipe": 2, "schedule": "dualpipev"})
    assert layers_of(run, 0)[0] == 0 and layers_of(run, 0)[-1] == 9
    assert parts_of(run, 0).total + parts_of(run, 1).total == parameter_count(run.model).stored
