"""What a stage of the pipeline needs: published figures, and our own engine by hand."""

import pytest

from pretrain.config.hardware import Hardware
from pretrain.config.layout import layout_of
from pretrain.config.run import Run
from pretrain.config.widths import Widths
from pretrain.planning.job import Job, Practice
from pretrain.planning.keeping import Keeping
from pretrain.planning.memory.activations import block_bytes, storing
from pretrain.planning.memory.stage import StageMemory, fits, in_flight, stage_memory
from pretrain.planning.memory.states import zero_states
from tests.config.example import make_run

GIB = 2**30
MEGATRON = Keeping(widths=Widths(2, 4, 12), bucket=0, softmax=2, logit=12)
"""fp16 softmax, gradients in fp32, all logits of a tensor rank at once."""
A100 = Hardware.parse(
    {
        "gpu": "a100-80gb",
        "tflops": 312,
        "fp32_tflops": 19.5,
        "memory": "79 GiB",
        "memory_bandwidth": 2039,
        "multiprocessors": 108,
        "link_bandwidth": 300,
        "network_bandwidth": 25,
        "watts": 800,
        "dollars_per_hour": 2,
    }
)
GPT_22B = {"layers": 48, "d_model": 6144, "heads": 64, "context": 2048, "vocab_size": 51200, "dropout": 0.1}
GPT_175B = {**GPT_22B, "layers": 96, "d_model": 12288, "heads": 96}
PAPERS = {
    "22B": (GPT_22B, {"tensor": 8}, 4, 1),
    "175B": (GPT_175B, {"tensor": 8, "pipe": 8}, 64, 3),
}
"""Korthikanti et al. 2022, table 3: model, layout, samples of a step, parts of a pipeline rank; 22B: 4 at once."""


def job_of(run: Run, processes: int = 1, practice: Practice = Practice()) -> Job:
    return Job(run, layout_of(run.parallel, processes), A100, practice=practice)


def paper_job(name: str, recompute: str, sequence_parallel: bool) -> Job:
    model, parallel, samples, virtual = PAPERS[name]
    run = make_run(
        model=model,
        batch={"global_batch_size": samples, "micro_batch_size": 4 if name == "22B" else 1},
        parallel={**parallel, "zero": 0, "recompute": recompute, "sequence_parallel": sequence_parallel},
        precision={"compute": "fp16"},
    )
    practice = Practice(attention="fused", virtual=virtual, cut="blocks", keeps=MEGATRON)
    return job_of(run, 8 if name == "22B" else 64, practice)


@pytest.mark.parametrize(
    ("name", "recompute", "sequence_parallel", "gibibytes"),
    [
        ("22B", "none", False, 59.25),
        ("22B", "selective", True, 9.56),
        ("175B", "none", False, 66.84),
        ("175B", "selective", True, 12.35),
    ],
)
def test_activations_of_korthikantis_figure_1(
    name: str, recompute: str, sequence_parallel: bool, gibibytes: float
) -> None:
    """The figure leaves out the ends and the statistics of the norms."""
    memory = stage_memory(paper_job(name, recompute, sequence_parallel), 0)
    assert memory.activations / GIB == pytest.approx(gibibytes, rel=0.01)
    states = memory.weights + memory.gradients + memory.optimizer
    assert states / GIB == pytest.approx(45.56, rel=0.035)  # of the blocks; the embedding is 1.4 and 1.2 GiB


@pytest.mark.parametrize(
    ("recompute", "sequence_parallel", "percent"),
    [("none", True, 62.04), ("selective", False, 56.53), ("selective", True, 18.49), ("full", False, 8.71)],
)
def test_shares_of_korthikantis_figure_7(recompute: str, sequence_parallel: bool, percent: float) -> None:
    whole = stage_memory(paper_job("175B", "none", False), 0).activations
    part = stage_memory(paper_job("175B", recompute, sequence_parallel), 0).activations
    assert 100 * part / whole == pytest.approx(percent, abs=0.5)


@pytest.mark.parametrize(
    ("billions", "ranks", "gigabytes"),
    [(7.5, 4, (52.5, 41.3, 30)), (128, 64, (536, 284, 32)), (1000, 1024, (4011, 2013, 15.6))],
)
def test_table_1_of_the_zero_paper(billions: float, ranks: int, gigabytes: tuple[float, ...]) -> None:
    """Rajbhandari et al. 2020, table 1."""
    planned = [zero_states(billions * 1e9, ranks, zero).total / 1e9 for zero in (1, 2, 3)]
    assert planned == pytest.approx(list(gigabytes), rel=0.003)


def small(**changes: object) -> Run:
    """4 layers of 64, 256 tokens of vocabulary, 4 samples of 128 at once, bf16."""
    parallel = changes.pop("parallel", {})
    return make_run(model={"layers": 4, "vocab_size": 256, **changes}, parallel=parallel, precision={"compute": "bf16"})


def test_one_gpu_of_ours_by_hand() -> None:
    """P parameters at 2, 4 + 2 and 12 bytes. Activations: see test_activations.py. Buffers: the context; the gradients
    of two inner and two outer widths; logits of all 512 tokens in fp32 and bf16; the head's gradient, fp32 and bf16."""
    parameters = 4 * (12 * 64**2 + 13 * 64) + (256 + 128) * 64 + 2 * 64
    block = 4 * 128 * (16 * 64 * 2 + 2 * 2 * 4 + 4 * 4)
    embedding, head = 4 * 128 * 8 + 128 * 8, 4 * 128 * (64 * 4 + 8) + 256 * 64 * 4
    memory = stage_memory(job_of(small()), 0)
    assert memory[:3] == (2 * parameters, 6 * parameters, 12 * parameters)
    assert memory.activations == 4 * block + embedding + head
    assert memory.buffers == 1e9 + 512 * (2 * 256 + 2 * 64) * 2 + 512 * 256 * (4 + 2) + 256 * 64 * (4 + 2)
    assert memory.margin == pytest.approx(0.3 * memory.activations)
    assert memory.total == sum(memory)


def test_scores_of_written_out_attention_are_kept_and_their_gradients_pass_by() -> None:
    """A score: 4 bytes of softmax and 2 of its rounding kept, as many in the backward pass; T^2 of the causal mask."""
    written, fused = (stage_memory(job_of(small(attention=kind)), 0) for kind in ("plain", "auto"))
    scores = 4 * 4 * 128 * 128
    log_sums = 4 * 128 * 4 * 4
    assert written.activations - fused.activations == 4 * (6 * scores - log_sums) + 128**2
    assert written.buffers - fused.buffers == 6 * scores - 512 * (2 * 256 + 2 * 64) * 2


def test_full_recompute_keeps_inputs_and_one_block() -> None:
    run = small(parallel={"recompute": "full"})
    none, full = stage_memory(job_of(small()), 0), stage_memory(job_of(run), 0)
    block = block_bytes(run.model, small().parallel, 4, 128, 0, storing(run))
    assert none.activations - full.activations == 4 * (block - 512 * 64 * 2)
    assert full.buffers - none.buffers == block
    assert full.margin == pytest.approx(0.1 * full.activations)


def test_offloaded_states_are_not_on_the_gpu() -> None:
    none, optimizer, everything = (
        stage_memory(job_of(small(parallel={"zero": 3, "offload": where}), 4), 0)
        for where in ("none", "optimizer", "all")
    )
    assert none.optimizer > 0 and optimizer.optimizer == optimizer.gradients == 0
    assert optimizer.weights == none.weights and everything.weights == 0


def test_buffers_follow_the_deepspeed_json() -> None:
    """ZeRO 2 overlaps: two buckets, 16 Mi elements at the smallest, in bf16. ZeRO 3 gathers up to all parameters."""
    run = small(parallel={"zero": 2})
    larger = run.model_copy(update={"deepspeed": {"zero_optimization": {"reduce_bucket_size": 2**25}}})
    default, passed = (stage_memory(job_of(one, 4), 0).buffers for one in (run, larger))
    assert passed - default == 2 * 2**24 * 2
    parameters = 4 * (12 * 64**2 + 13 * 64) + (256 + 128) * 64 + 2 * 64
    assert stage_memory(job_of(small(parallel={"zero": 3}), 4), 0).buffers - default == 2 * parameters


def test_each_axis_has_buffers_of_nccl() -> None:
    """bf16 and ZeRO 1: all fp32 sums of so small a model are laid end to end to be reduced."""
    one, two = (stage_memory(job_of(small(), processes), 0) for processes in (1, 2))
    parameters = 4 * (12 * 64**2 + 13 * 64) + (256 + 128) * 64 + 2 * 64
    assert two.buffers - one.buffers == 0.5e9 + 4 * parameters


def flights(schedule: str, pipe: int, practice: Practice = Practice(), samples: int = 32) -> list[list[float]]:
    run = make_run(
        model={"layers": 16, "vocab_size": 256},
        parallel={"pipe": pipe, "schedule": schedule},
        batch={"global_batch_size": samples, "micro_batch_size": 1},
    )
    job = job_of(run, pipe, practice)
    return [[in_flight(job, place, stage) for stage in job.layers_at(place)] for place in range(pipe)]


def test_in_flight_by_hand() -> None:
    assert flights("1f1b", 4) == [[4], [3], [2], [1]]
    assert flights("1f1b", 4, samples=2) == [[2], [2], [2], [1]]
    assert flights("dualpipev", 4) == [[8, 1], [7, 2], [6, 3], [5, 4]]
    assert flights("1f1b", 4, Practice(virtual=2)) == [[5.5], [4.5], [3.5], [2.5]]


@pytest.mark.parametrize(("schedule", "pipe"), [("1f1b", 4), ("dualpipev", 2), ("dualpipev", 3), ("dualpipev", 4)])
def test_in_flight_is_what_deepspeed_schedules(schedule: str, pipe: int) -> None:
    """The closed form against the instructions: no moment has more, and one has all of it at once."""
    from pretrain.parallel.accounting.instructions import scheduled

    for order, planned in zip(scheduled(schedule, pipe, 12), flights(schedule, pipe), strict=True):
        now: dict[int, int] = {}
        moments = []
        for (kind, _, stage), _ in order:
            now[stage] = now.get(stage, 0) + (1 if kind == "F" else -1)
            moments.append([now[stage] for stage in sorted(now)])
        assert planned in moments
        assert all(one <= most for moment in moments for one, most in zip(moment, planned, strict=False))


def test_all_logits_at_once() -> None:
    """Of one tensor rank's columns, or of all. The head keeps its input, cut by tokens, where our loss keeps the
    gradients of the whole input and, in fp32, of the weight."""
    run = small(parallel={"tensor": 2})
    cut, gathered = (
        stage_memory(job_of(run, 2, Practice(keeps=Keeping(logit=12, gathers_logits=gathers))), 0)
        for gathers in (False, True)
    )
    assert gathered.buffers - cut.buffers == 512 * 128 * 12
    ours = stage_memory(job_of(run, 2), 0)
    assert ours.activations - cut.activations == 512 * 64 * 2 / 2 + 128 * 64 * 4


def test_what_a_stage_sent_is_kept_while_in_flight() -> None:
    """Two hidden states on the first of two ranks, none on the last, which has a head instead."""
    run = small(parallel={"pipe": 2})
    first, last = (stage_memory(job_of(run, 2), pipe).buffers for pipe in (0, 1))
    head = 512 * 256 * (4 + 2) + 256 * 64 * (4 + 2)
    assert first - last == 2 * 512 * 64 * 2 - head


def test_every_other_product_by_hand() -> None:
    """Selective as torchtitan does it: the input C, queries C, values C / 2, attention C and its logarithm, the gate F,
    the last product C."""
    style = {"positions": "rope", "norm": "rmsnorm", "activation": "swiglu", "d_ff": 192, "kv_heads": 2, "bias": False}
    run = small(parallel={"recompute": "selective"}, **style)
    kept = Keeping(products=True).storing(run, written_out=False)
    assert block_bytes(run.model, run.parallel, 4, 128, 0, kept) == 512 * ((4.5 * 64 + 192) * 2 + 4 * 4)


def test_expandable_segments_have_no_pieces() -> None:
    assert stage_memory(job_of(small(), 1, Practice(keeps=Keeping(in_pieces=False))), 0).margin == 0


@pytest.mark.parametrize("schedule", ["1f1b", "dualpipev"])
def test_the_fullest_stage_is_found(schedule: str) -> None:
    parallel = {"tensor": 8, "pipe": 8, "schedule": schedule}
    run = make_run(model=GPT_175B, batch={"global_batch_size": 1536, "micro_batch_size": 1}, parallel=parallel)
    job = job_of(run, 512)
    every = [stage_memory(job, pipe).total for pipe in range(8)]
    found = fits(job)
    assert (found.memory.total, found.stage) == (max(every), every.index(max(every)))
    assert found.fits and found.capacity == 79 * GIB


def test_what_does_not_fit_names_the_part() -> None:
    """175B on one GPU of 8: 22 billion parameters."""
    run = make_run(model=GPT_175B, parallel={"tensor": 8}, batch={"micro_batch_size": 1}, precision={"compute": "bf16"})
    found = fits(job_of(run, 256))
    assert not found.fits and found.part == "gradients"
    assert found.memory.gradients == pytest.approx(6 * 175.2e9 / 8, rel=0.01)


def test_stages_as_others_cut_them() -> None:
    """10 blocks over 4 ranks; with both ends counted 12."""
    run = make_run(model={"layers": 10, "vocab_size": 256}, parallel={"pipe": 4})
    ends = job_of(run, 4, Practice(cut="ends"))
    assert [ends.layers_at(pipe)[pipe] for pipe in range(4)] == [range(0, 3), range(3, 6), range(6, 9), range(9, 12)]
    blocks = job_of(run, 4, Practice(cut="blocks"))
    assert [blocks.layers_at(pipe)[pipe] for pipe in range(4)] == [range(0, 3), range(3, 6), range(6, 8), range(8, 12)]


def test_parts_are_named_as_the_report_shows_them() -> None:
    assert StageMemory._fields == ("weights", "gradients", "optimizer", "activations", "buffers", "margin")
