"""The JSON that DeepSpeed gets."""

from typing import Any

import pytest

from pretrain.config.constraints import check_run
from pretrain.config.deepspeed import bucket_size, deepspeed_config
from pretrain.config.load import load_run
from tests.config.example import make_run

ONE = 2**24
"""The bucket of a small model."""


def test_derived_from_the_run() -> None:
    config = deepspeed_config(make_run(parallel={"zero": 2}), 2)
    assert config == {
        "train_batch_size": 32,
        "train_micro_batch_size_per_gpu": 4,
        "gradient_accumulation_steps": 4,
        "gradient_clipping": 1.0,
        "zero_optimization": {
            "stage": 2,
            "overlap_comm": True,
            "reduce_bucket_size": ONE,
            "allgather_bucket_size": ONE,
            "use_multi_rank_bucket_allreduce": False,
            "round_robin_gradients": False,
        },
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": True},
        "steps_per_print": None,
        "wall_clock_breakdown": False,
        "timers": {"throughput": {"enabled": False}},
        "data_types": {"grad_accum_dtype": "fp32"},
    }


def test_fp16_has_a_scale_that_deepspeed_leaves_alone() -> None:
    config = deepspeed_config(make_run(precision={"compute": "fp16"}), 1)
    assert config["fp16"] == {"enabled": True, "loss_scale": 65536.0} and config["bf16"] == {"enabled": False}
    assert config["data_types"] == {"grad_accum_dtype": "fp32"}


def test_only_the_data_axis_shares_the_batch() -> None:
    config = deepspeed_config(make_run(parallel={"tensor": 2, "pipe": 2}), 8)
    assert config["gradient_accumulation_steps"] == 4
    assert config["pipeline"] == {"pipe_partitioned": False, "grad_partitioned": False}


CPU = {"device": "cpu"}
SIZES = {"overlap_comm": True, "reduce_bucket_size": ONE, "stage3_prefetch_bucket_size": ONE}

ZERO: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "none": ({"zero": 0}, {"stage": 0}),
    "1 overlaps nothing": (
        {"zero": 1},
        {
            "stage": 1,
            "overlap_comm": False,
            "reduce_bucket_size": ONE,
            "allgather_bucket_size": ONE,
            "use_multi_rank_bucket_allreduce": False,
            "round_robin_gradients": False,
        },
    ),
    "3 keeps 10 x d_model whole": ({"zero": 3}, {"stage": 3, **SIZES, "stage3_param_persistence_threshold": 640}),
    "everything offloaded": (
        {"zero": 3, "offload": "all"},
        {
            "stage": 3,
            **SIZES,
            "stage3_param_persistence_threshold": 640,
            "offload_optimizer": CPU,
            "offload_param": CPU,
        },
    ),
}


@pytest.mark.parametrize("case", ZERO)
def test_zero(case: str) -> None:
    parallel, expected = ZERO[case]
    config = deepspeed_config(make_run(parallel=parallel), 1)
    assert config["zero_optimization"] == expected
    assert config.get("zero_force_ds_cpu_optimizer", True) is ("offload" not in parallel)


@pytest.mark.parametrize(
    ("model", "tensor", "elements"),
    [
        ("tiny", 1, 2**24),  # a block of 49,152
        ("gpt3-125m", 1, 50_304 * 768),  # the embedding, 38.6M, is more than a block
        ("gpt3-125m", 4, 2**24),
        ("gpt3-6.7b", 8, 50_304 * 4096 // 8),  # 25.8M; a block has 201.3M / 8 = 25.2M
        ("gpt3-175b", 8, 2**27),  # a block has 12 x 12288^2 / 8 = 226M
    ],
)
def test_a_bucket_holds_the_largest_layer(model: str, tensor: int, elements: int) -> None:
    assert bucket_size(load_run("gpt3-125m", [f"model={model}"]).model, tensor) == elements


def test_buckets_are_even() -> None:
    """An odd table, which DeepSpeed would refuse."""
    model = make_run(model={"d_model": 1001, "heads": 7, "vocab_size": 20_001, "vocab_multiple": 1}).model
    assert bucket_size(model, 1) == 20_001 * 1001 + 1


def test_passthrough_is_laid_over_it() -> None:
    run = make_run(deepspeed={"zero_optimization": {"reduce_bucket_size": 5000}, "dump_state": True})
    check_run(run, 1)
    config = deepspeed_config(run, 1)
    assert config["zero_optimization"]["reduce_bucket_size"] == 5000
    assert config["zero_optimization"]["stage"] == 1
    assert config["dump_state"] is True
