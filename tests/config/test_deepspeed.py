"""The JSON that DeepSpeed gets."""

from pretrain.config.deepspeed import deepspeed_config
from tests.config.example import make_run


def test_derived_from_the_run() -> None:
    config = deepspeed_config(make_run(parallel={"zero": 2}), 2)
    assert config == {
        "train_batch_size": 32,
        "train_micro_batch_size_per_gpu": 4,
        "gradient_accumulation_steps": 4,
        "gradient_clipping": 1.0,
        "zero_optimization": {"stage": 2},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": True},
        "steps_per_print": None,
        "wall_clock_breakdown": False,
        "data_types": {"grad_accum_dtype": "fp32"},
    }


def test_passthrough_is_laid_over_it() -> None:
    config = deepspeed_config(
        make_run(deepspeed={"zero_optimization": {"reduce_bucket_size": 5000}, "dump_state": True}), 1
    )
    assert config["zero_optimization"] == {"stage": 1, "reduce_bucket_size": 5000}
    assert config["dump_state"] is True
