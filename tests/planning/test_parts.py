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


def test_norms_of_queries_and_keys_are_on_every_tensor_rank() -> None:
    """Of each of 2 layers one norm of 2 x 64 and two of 16; biases 2 x 64 not cut."""
    model = {"vocab_size": 256, "qk_norm": True, "parallel_block": True}
    parts = parts_of(make_run(model=model, parallel={"tensor": 2}), 0)
    assert parts.repeated == 2 * (2 * 64 + 2 * 16 + 2 * 64) + 2 * 64
    assert parts_of(make_run(model=model), 0).total == parameter_count(make_run(model=model).model).stored


def test_the_last_stage_has_a_copy_of_a_tied_table() -> None:
    run = make_run(model={"vocab_size": 256, "layers": 4}, parallel={"pipe": 2})
    count = parameter_count(run.model)
    assert parts_of(run, 0).total + parts_of(run, 1).total == count.stored + 256 * 64


def test_dualpipev_has_both_ends_on_the_first_rank() -> None:
    run = make_run(model={"vocab_size": 256, "layers": 8}, parallel={"pipe": 2, "schedule": "dualpipev"})
    assert layers_of(run, 0)[0] == 0 and layers_of(run, 0)[-1] == 9
    assert parts_of(run, 0).total + parts_of(run, 1).total == parameter_count(run.model).stored
