"""The step by parts: what recompute, pipelines, ZeRO and practice add or hide, against the part it comes from."""

from dataclasses import replace
from typing import Any

import pytest

from pretrain.config.layout import Layout
from pretrain.config.run import Run
from pretrain.planning.job import Job, Practice
from pretrain.planning.parts import inner_width, parts_of
from pretrain.planning.timing.block import block_passes, exchange_seconds
from pretrain.planning.timing.ends import head_passes
from pretrain.planning.timing.kernels import product_seconds
from pretrain.planning.timing.step import stage_passes, step_time, tied_seconds
from tests.config.example import make_run
from tests.planning.jobs import a100

A100 = a100()
SHAPE = {"layers": 16, "d_model": 4096, "heads": 32, "context": 2048, "vocab_size": 51_200}


def job(layout: Layout, micro: int = 1, samples: int = 64, practice: Practice = Practice(), **parallel: Any) -> Job:
    sizes = {"tensor": layout.tensor, "pipe": layout.pipe}
    run: Run = make_run(
        model=SHAPE,
        parallel=sizes | parallel,
        batch={"global_batch_size": samples, "micro_batch_size": micro},
        precision={"compute": "bf16"},
    )
    return Job(run, layout, A100, 8, practice)


def test_parts_make_the_step() -> None:
    step = step_time(job(Layout(2, 4, 2)))
    assert step.total == pytest.approx(sum(step) - step.hidden)
    assert min(step) >= 0


def test_one_gpu_exchanges_nothing() -> None:
    step = step_time(job(Layout(1, 1, 1)))
    assert (step.tensor, step.pipe, step.data, step.bubble, step.hidden) == (0, 0, 0, 0, 0)


def test_twice_the_micro_batches_take_twice_the_passes() -> None:
    once, twice = (step_time(job(Layout(1, 8, 1), samples=samples)) for samples in (64, 128))
    assert twice.matmul == pytest.approx(2 * once.matmul)
    assert (twice.data, twice.optimizer) == (once.data, once.optimizer)


def test_full_recompute_adds_a_forward_pass() -> None:
    """Ours without the last product, 2,048 x 16,384 x 4,096, whose result nothing needs; Megatron's with it."""
    found = job(Layout(1, 1, 1))
    plain = block_passes(found, 2048, False)
    last = product_seconds(found, 2048, 4096, 16_384)
    for practice, less in ((Practice(), last), (Practice(redoes_last=True), 0.0)):
        again = block_passes(replace(found, practice=practice), 2048, True)
        assert again.forward == plain.forward
        assert again.backward.total == pytest.approx(plain.backward.total + plain.forward.total - less)


@pytest.mark.parametrize(("cut", "least"), [(False, 1.0), (True, 1.5)])
def test_recompute_exchanges_all_but_the_last(cut: bool, least: float) -> None:
    """Of a block's two all-reduces the second follows the last product; with sequence parallelism half of it does."""
    found = job(Layout(1, 1, 8), sequence_parallel=cut)
    plain, again = (block_passes(found, 2048, again).backward.tensor for again in (False, True))
    assert again - plain == pytest.approx(least * exchange_seconds(found))


def test_the_loss_in_chunks() -> None:
    """512 MiB hold 2,560 tokens of 51,200 columns in fp32 (2,621 rounded down to 128): for 4 x 2,048 tokens 3.2 times
    the fp32 gradient of 51,200 x 4,096 is read, and written, and a product in bf16 is written and read."""
    found = job(Layout(1, 1, 1), micro=4)
    whole, chunked = (head_passes(replace(found, practice=Practice(loss=loss))) for loss in ("kernel", "chunks"))
    sums, logits = 12 * 3.2 * 51_200 * 4096, (62 - 2) * 8192 * 51_200
    assert chunked.forward.memory - whole.forward.memory == pytest.approx((sums + logits) / (2039e9 * 0.762))
    products = whole.forward.matmul + whole.backward.matmul
    assert chunked.backward.matmul == 0
    assert chunked.forward.matmul == pytest.approx(products, rel=0.05)


def test_selective_recompute_adds_attention() -> None:
    plain = block_passes(job(Layout(1, 1, 1)), 2048, False)
    again = block_passes(job(Layout(1, 1, 1), recompute="selective"), 2048, False)
    assert again.backward.total == pytest.approx(plain.backward.total + plain.forward.attention)


def test_a_band_is_cheaper() -> None:
    """The kernel computes T w - w^2 / 2 of T^2 / 2 scores: with w = T / 8 15/64 of them."""
    dense, banded = (block_passes(job(Layout(1, 1, 1)), seen, False).forward.attention for seen in (2048, 256))
    assert banded / dense == pytest.approx(15 / 64)


def test_a_block_exchanges_twice_each_way() -> None:
    """Two all-reduces forward, two backward (Shoeybi et al. 2019, section 3)."""
    found = job(Layout(1, 1, 8))
    passes = block_passes(found, 2048, False)
    assert passes.forward.tensor == passes.backward.tensor == pytest.approx(2 * exchange_seconds(found))


def test_the_bubble_of_equal_stages() -> None:
    """(p - 1) / m of a rank's passes (Narayanan et al. 2021, section 2.2), here with p = 4, m = 4, as many blocks in
    each stage and a vocabulary too small to count."""
    found = job(Layout(4, 1, 1), samples=16, micro=4, practice=Practice(cut="blocks"))
    small = found.run.model_copy(update={"model": found.run.model.model_copy(update={"vocab_size": 128})})
    step = step_time(replace(found, run=small))
    passes = step.matmul + step.attention + step.memory + step.host
    assert step.bubble == pytest.approx(3 / 4 * passes, rel=0.02)


def test_tied_ends_sum_their_gradients() -> None:
    """51,200 x 4,096 in fp32: an all-reduce of two ranks sends the whole once, over links of 300 GB/s x 0.945."""
    found = job(Layout(4, 1, 1))
    assert tied_seconds(found) == pytest.approx(4 * 51_200 * 4096 / (300e9 * 0.945), rel=0.01)
    assert tied_seconds(job(Layout(4, 1, 1), schedule="dualpipev")) == tied_seconds(job(Layout(1, 1, 1))) == 0


def test_interleaving_divides_the_bubble() -> None:
    """By the parts of a rank, and sends as many times more."""
    plain, parts = (step_time(job(Layout(4, 1, 1), 1, 16, Practice(cut="blocks", virtual=v))) for v in (1, 2))
    assert parts.bubble == pytest.approx(plain.bubble / 2, rel=0.02)
    assert parts.pipe > plain.pipe


def test_zero_2_exchanges_gradients_for_each_micro_batch() -> None:
    """8 reduce-scatters, behind the backward pass, and a gather instead of one and one. DeepSpeed's hold products up by
    0.52 of their time."""
    one = step_time(job(Layout(1, 8, 1)))
    for fetches, shown in (("fsdp", 0.0), ("deepspeed", 0.52)):
        two = step_time(job(Layout(1, 8, 1), zero=2, practice=Practice(fetches=fetches)))  # type: ignore[arg-type]
        assert two.hidden == pytest.approx((1 - shown) * one.data / 2 * 8)
        assert two.data == pytest.approx(one.data / 2 + shown * one.data / 2 * 8)


def test_zero_3_hides_its_exchange() -> None:
    """FSDP's: three exchanges for each micro-batch, behind 90% of the passes."""
    practice = Practice(fetches="fsdp")
    one, three = (step_time(job(Layout(1, 8, 1), zero=zero, practice=practice)) for zero in (1, 3))
    passes = three.matmul + three.attention + three.memory + three.host
    assert three.data + three.hidden == pytest.approx(one.data / 2 * 3 * 8)
    assert three.hidden == pytest.approx(min(0.9 * passes, one.data / 2 * 3 * 8))


def test_gradients_behind_the_backward_pass() -> None:
    shown = step_time(job(Layout(1, 8, 1)))
    hidden = step_time(job(Layout(1, 8, 1), practice=Practice(hides_gradients=True)))
    assert hidden.data + hidden.hidden == pytest.approx(shown.data)
    assert hidden.hidden > 0


def test_more_data_ranks_update_less_each() -> None:
    few, many = (step_time(job(Layout(1, data, 1))).optimizer for data in (2, 8))
    assert many < few


def test_offloaded_states_are_sent_over_the_bus() -> None:
    kept, away = (step_time(job(Layout(1, 8, 1), offload=where)).optimizer for where in ("none", "optimizer"))
    assert away > kept


def test_small_work_waits_for_the_host() -> None:
    """One sample of 2,048 tokens keeps an A100 busier than its host; with a host ten times slower it does not."""
    slow = A100.model_copy(update={"launch_seconds": 10 * A100.launch_seconds})
    found = job(Layout(1, 1, 1))
    assert step_time(replace(found, hardware=slow)).host > step_time(found).host


def test_stages_hold_their_own_layers() -> None:
    """The head is part of the last stage only: its products take longer than a middle stage's of as many blocks."""
    found = replace(job(Layout(4, 1, 1)), practice=Practice(cut="blocks"))
    middle, last = stage_passes(found, 1), stage_passes(found, 3)
    assert last.forward.matmul > middle.forward.matmul


def test_a_cpu_hides_no_start_of_a_kernel() -> None:
    """22 kernels of 42 microseconds in each pass of a block, whatever they compute."""
    found = job(Layout(1, 1, 1))
    cluster = found.run.cluster.model_copy(update={"gpus": False})
    passes = block_passes(replace(found, run=found.run.model_copy(update={"cluster": cluster})), 2048, False)
    assert passes.forward.host == passes.backward.host == pytest.approx(22 * 4.2e-5)


def test_bf16_zero_1_sums_whole_gradients() -> None:
    """DeepSpeed's bf16 optimizer: an all-reduce and the gather, three exchanges instead of two."""
    shared, whole = (job(Layout(1, 8, 1), practice=Practice(sums_whole=whole)) for whole in (False, True))
    assert step_time(whole).data == pytest.approx(1.5 * step_time(shared).data)


def test_offloaded_parameters_come_for_each_pass() -> None:
    """12 GB/s. P parameters, 8 ranks, 8 micro-batches: 6 bytes of gradients and weights, 31 of the update, 8 of each
    further micro-batch's sums; offloaded weights 4 for each micro-batch more."""
    found = [job(Layout(1, 8, 1), zero=3, offload=where) for where in ("optimizer", "all")]
    parameters = parts_of(found[0].run, 0).total
    extra = [step_time(one).optimizer - 21.4 * parameters / (2039e9 * 0.762) for one in found]
    assert extra == pytest.approx([parameters / 8 * size / 12e9 for size in (6 + 31 + 7 * 8, 6 + 31 + 7 * 8 + 8 * 4)])


def test_an_own_mlp_counts_what_it_is() -> None:
    """GatedMLP, named as one's own in a model whose activation is GELU: three matrices where two are usual."""
    usual = job(Layout(1, 1, 1)).run.model
    own = usual.model_validate(usual.plain() | {"mlp": {"class": "pretrain.model.layers.GatedMLP"}})
    assert inner_width(own) == pytest.approx(1.5 * inner_width(usual))
