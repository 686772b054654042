"""Parameters, gradients and optimizer state."""

import pytest

from pretrain.config.layout import layout_of
from pretrain.planning.memory.states import state_bytes, zero_states
from tests.config.example import make_run


@pytest.mark.parametrize(("zero", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_figure_1_of_the_zero_paper(zero: int, gigabytes: float) -> None:
    """7.5 B parameters on 64 ranks (Rajbhandari et al. 2020, figure 1)."""
    assert zero_states(7.5e9, 64, zero).total / 1e9 == pytest.approx(gigabytes, abs=0.05)


def test_bf16_sums_gradients_in_fp32() -> None:
    """2 layers of 64 with 12 C^2 + 13 C each, 256 + 128 rows of 64, a final norm."""
    parameters = 2 * (12 * 64**2 + 13 * 64) + (256 + 128) * 64 + 2 * 64
    run = make_run(model={"vocab_size": 256}, parallel={"zero": 1}, precision={"compute": "bf16"})
    states = state_bytes(run, layout_of(run.parallel, 4), 0)
    assert states == (2 * parameters, 4 * parameters, 3 * parameters)


def test_fp32_without_zero_has_no_master_copy() -> None:
    run = make_run(model={"vocab_size": 256}, parallel={"zero": 0}, precision={"compute": "fp32"})
    parameters, gradients, optimizer = state_bytes(run, layout_of(run.parallel, 4), 0)
    assert (gradients, optimizer) == (parameters, 2 * parameters)


def test_zero_3_keeps_biases_and_norms_whole() -> None:
    """Biases 9 C and norms 4 C of a block, 2 C of the final norm."""
    run = make_run(model={"vocab_size": 256}, parallel={"zero": 3}, precision={"compute": "fp32"})
    layout = layout_of(run.parallel, 4)
    states = state_bytes(run, layout, 0)
    assert states.parameters - states.gradients == 4 * (2 * 13 * 64 + 2 * 64)


def test_muon_keeps_one_moment_of_the_matrices_of_the_blocks() -> None:
    """12 C^2 a block; 4 bytes each less than AdamW's, cut over the data axis from ZeRO 1 on."""
    for zero, ranks in ((0, 1), (1, 4)):
        states = {}
        for name in ("adamw", "muon"):
            run = make_run(
                model={"vocab_size": 256},
                parallel={"zero": zero},
                precision={"compute": "fp32"},
                optimizer={"name": name},
            )
            states[name] = state_bytes(run, layout_of(run.parallel, 4), 0)
        assert states["adamw"].optimizer - states["muon"].optimizer == 4 * 2 * 12 * 64**2 / ranks
        assert states["adamw"][:2] == states["muon"][:2]


def test_adafactor_keeps_one_moment_of_vectors() -> None:
    run = make_run(
        model={"vocab_size": 256}, parallel={"zero": 0}, precision={"compute": "fp32"}, optimizer={"name": "adafactor"}
    )
    assert state_bytes(run, layout_of(run.parallel, 4), 0).optimizer == 4 * (2 * 13 * 64 + 2 * 64)
