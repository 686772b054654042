"""The search against looking at every layout, and what it says where there is none."""

from __future__ import annotations

import pytest

from pretrain.config.constraints import find_problems
from pretrain.config.errors import ConfigError, Problem
from pretrain.config.hardware import Hardware
from pretrain.planning.layouts.candidates import Space, candidates
from pretrain.planning.layouts.nothing import nothing_found, smallest_enough
from pretrain.planning.layouts.plan import Plan, memory_of, plan_of
from pretrain.planning.layouts.search import job_of, order, search
from pretrain.planning.layouts.settle import can_settle, settle
from tests.planning.example import hardware, space


def every_plan(where: Space, gpu: Hardware) -> list[Plan]:
    """All that satisfy the rules, whether they fit or not."""
    valid = (run for run in candidates(where) if not find_problems(run, where.processes, where.together))
    return [plan_of(job_of(run, where, gpu)) for run in valid]


def layout(plan: Plan) -> tuple[object, ...]:
    parallel = plan.run.parallel
    fields = ("schedule", "zero", "splits_sequence", "recompute", "offload")
    return *plan.job.layout, *(getattr(parallel, name) for name in fields), plan.run.batch.micro_batch_size


@pytest.mark.parametrize("model", ["gpt3-125m", "llama-7b"])
def test_the_best_of_all_that_fit(model: str) -> None:
    """The bound that ends the search early loses nothing: memory that holds half of the layouts."""
    where = space(model, 16, "data.sequence_length=512")
    sizes = sorted(plan.memory for plan in every_plan(where, hardware()))
    gpu = hardware(memory=int(sizes[len(sizes) // 2]))
    fitting = sorted((plan for plan in every_plan(where, gpu) if plan.memory <= gpu.memory), key=order)
    assert 20 < len(fitting) < len(sizes)
    found = search(where, gpu, top=12)
    assert [order(plan) for plan in found] == [order(plan) for plan in fitting[:12]]
    for plan in found:
        assert not find_problems(plan.run, 16, 8)
        assert all(stage.total <= gpu.memory for stage in plan.stages)
        assert len(plan.stages) == plan.job.layout.pipe


def test_candidates_by_hand() -> None:
    """Two GPUs, 12 heads, 32 samples. Micro-batches: 1 to 32 on one data rank, to 16 on two.

    tensor 2: sequence parallel or not, ZeRO 1; pipe 2: two schedules, ZeRO 1; data 2: 3 stages; each with recompute
    none or full.
    """
    found = list(candidates(space("gpt3-125m", 2)))
    assert len(found) == 6 * 2 * 2 + 6 * 2 * 2 + 5 * 3 * 2
    assert {run.parallel.offload for run in found} == {"none"}
    assert not any(run.parallel.auto for run in found)


def test_plain_attention_may_be_selective() -> None:
    plain = {run.parallel.recompute for run in candidates(space("gpt3-125m", 1, "model.attention=plain"))}
    assert plain == {"none", "selective", "full"}


def test_what_is_given_is_kept() -> None:
    where = space("gpt3-125m", 8, "parallel.pipe=2", "parallel.recompute=full", free=False)
    found = search(where, hardware())
    assert {(plan.job.layout.pipe, plan.run.parallel.recompute) for plan in found} == {(2, "full")}
    assert {plan.run.batch.micro_batch_size for plan in found} == {1}


def test_offload_only_where_nothing_fits_without() -> None:
    """6.7B parameters: 16 bytes each are 107 GB; without the optimizer's 12 they are 27 GB and gradients."""
    where = space("gpt3-6.7b", 1)
    assert {plan.run.parallel.offload for plan in search(where, hardware())} == {"optimizer"}
    assert {plan.run.parallel.offload for plan in search(where, hardware(memory="200 GB"))} == {"none"}


def problem(where: Space, gpu: Hardware) -> Problem:
    assert search(where, gpu) == []
    return nothing_found(where, gpu).problems[0]


def test_too_big_names_stage_part_and_how_many_would_do() -> None:
    """13B parameters with 12 bytes of optimizer state: 154 GB. Nothing fits into 8 GB, not even with offload."""
    where = space("gpt3-13b", 2)
    found = problem(where, hardware(memory="8 GB"))
    assert (found.field, found.value) == ("GPUs", 2)
    assert "stage 0 needs" in found.rule or "stage 1 needs" in found.rule
    assert "optimizer" in found.rule
    enough = smallest_enough(where._replace(run=where.run), hardware(memory="8 GB"))
    assert enough is not None
    assert found.fix.startswith(f"{enough} GPUs")
    assert enough * 8e9 > 16 * 12.85e9
    assert search(where._replace(processes=enough), hardware(memory="8 GB"))


def test_no_number_of_gpus_would_do() -> None:
    """Less memory than the CUDA context takes."""
    found = problem(space("gpt3-125m", 2), hardware(memory="1 GB"))
    assert found.fix == "a GPU with more memory, a smaller micro_batch_size, or a smaller model"


def test_a_broken_rule_comes_with_its_reason() -> None:
    found = problem(space("gpt3-125m", 8, "parallel.tensor=8"), hardware())
    assert found.field == "parallel.tensor"
    assert found.rule == (
        "must divide model.heads (12): attention is cut by whole heads, so that each process computes its own without"
        " exchange"
    )
    assert found.fix.startswith("parallel.tensor: 4")


def test_the_nearest_numbers_that_can_be_laid_out() -> None:
    """32 samples on 23 GPUs: 23 is prime and more than the 12 layers. 16 = 2 x 8 and 24 = 12 x 2 can be laid out."""
    assert problem(space("gpt3-125m", 23), hardware()).fix.endswith("or 16 or 24 GPUs")


def test_a_batch_that_is_not_whole() -> None:
    with pytest.raises(ConfigError, match="nearest: 488 samples"):
        search(space("gpt3-125m", 2, "batch.global_batch_size=1M"), hardware())


def test_auto_is_settled_by_the_planner() -> None:
    """The same as the search's best, and the same from what `launch` writes for the ranks."""
    where = space("gpt3-1.3b", 8, free=False)
    cluster = where.run.cluster.model_copy(update={"hardware": hardware(), "gpus_per_node": 8})
    run = where.run.model_copy(update={"cluster": cluster})
    settled = settle(run, 8, 8)
    assert settled.parallel == search(where, hardware(), top=1)[0].run.parallel
    assert settle(type(run).parse(run.plain()), 8, None).parallel == settled.parallel
    assert settled.model == run.model
    assert settled.batch == run.batch


def test_whether_there_is_a_layout_is_known_without_a_search() -> None:
    """32 samples: none for 29 processes, nor for GPUs that are smaller than the CUDA context."""
    run = space("gpt3-1.3b", 8).run
    for memory, processes, expected in (("80 GB", 8, True), ("80 GB", 29, False), ("1 GB", 8, False)):
        cluster = run.cluster.model_copy(update={"hardware": hardware(memory=memory), "gpus_per_node": 8})
        assert can_settle(run.model_copy(update={"cluster": cluster}), processes, 8) is expected
    assert can_settle(run, 8, 8)
    assert not can_settle(run, 29, 8)


def test_without_hardware_the_rule_of_auto_stays() -> None:
    """Brown et al.'s 1.3B needs no tensor axis: states fit."""
    parallel = settle(space("gpt3-1.3b", 8).run, 8, 8).parallel
    assert (parallel.tensor, parallel.pipe, parallel.zero) == (1, 1, 1)


def test_auto_that_fits_nowhere_is_refused() -> None:
    run = space("gpt3-1.3b", 8).run
    cluster = run.cluster.model_copy(update={"hardware": hardware(memory="1 GB"), "gpus_per_node": 8})
    with pytest.raises(ConfigError, match="each stage must fit into the 1GB of one test"):
        settle(run.model_copy(update={"cluster": cluster}), 8, 8)


def test_auto_leaves_room_for_the_planners_error() -> None:
    """The fastest layout fills the GPU to 98%: one that needs 8% less is taken."""
    where = space("llama-7b", 16, "data.sequence_length=512")
    fastest = search(where, hardware(), top=1)[0]
    gpu = hardware(memory=int(fastest.memory / 0.98))
    cluster = where.run.cluster.model_copy(update={"hardware": gpu})
    settled = settle(where.run.model_copy(update={"cluster": cluster}), 16, 8)
    assert settled.parallel != fastest.run.parallel
    assert max(stage.total for stage in memory_of(job_of(settled, where, gpu))) <= 0.92 * gpu.memory
