"""What a person asks the planner: a run or a model, on so many GPUs of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from pathlib import Path

from pretrain.config.errors import ConfigError
from pretrain.config.hardware import Hardware
from pretrain.config.load import CONFIGS, find, known_hardware, load_hardware, load_run, load_yaml, resolve
from pretrain.config.run import Run
from pretrain.config.units import BatchSize
from pretrain.planning.layouts.candidates import Space

MOST_GPUS = 1_000_000
"""Above it a number is a slip of the keyboard."""
MOST_LAYERS = 512
"""GPT-3 has 96; cutting layers into stages takes time with their square."""


def space_of_run(path: str, overrides: Sequence[str], cluster: str | None, gpus: int | None, free: bool) -> Space:
    """Of a RUN.yaml; `free`: over every layout, whatever it gives. Raises ConfigError."""
    named = [f"cluster={cluster}"] if cluster else []
    run = load_run(path, [*named, *overrides])
    if free:
        run = run.model_copy(update={"parallel": type(run.parallel)(auto=True)})
    return _space(run, gpus, free)


def space_of_model(
    model: str, overrides: Sequence[str], cluster: str | None, gpus: int | None, batch: str | None, tokens: str | None
) -> Space:
    """Of a model's name: batch and tokens as in the run of that name, without its batch ramp. Raises ConfigError."""
    find(model, "models")
    named = Path(model).stem if model.endswith((".yaml", ".yml")) else model
    given = [f"model={model}", "parallel=auto", *([f"cluster={cluster}"] if cluster else [])]
    given += [f"train.tokens={tokens}"] if tokens else []
    if (CONFIGS / "runs" / f"{named}.yaml").is_file():
        plain = load_yaml(find(named, "runs"), ["batch.ramp=null", *given, *overrides])
    else:
        for name, value in (("--batch", batch), ("--tokens", tokens)):
            if value is None:
                raise ConfigError.of(name, None, f"is needed: there is no configs/runs/{named}.yaml", f"{name} 1M")
        plain = load_yaml(CONFIGS / "runs" / "gpt3-125m.yaml", ["batch.ramp=null", *given, *overrides])
        plain |= {"schedule": {"name": "constant"}, "name": named}
    run = resolve(plain)
    if batch:
        samples = _round_batch(batch, run.sequence_length)
        sizes = {"global_batch_size": BatchSize(amount=samples, unit="samples"), "micro_batch_size": 1}
        run = run.model_copy(update={"batch": run.batch.model_copy(update=sizes)})
    return _space(run, gpus, free=True)


def hardware_of(run: Run) -> Hardware:
    """Of the run's cluster. Raises ConfigError where nobody said."""
    if run.cluster.hardware is None:
        known = ", ".join(known_hardware())
        raise ConfigError.of("cluster.hardware", None, "is needed to plan", f"--cluster NAME; known: {known}")
    return run.cluster.hardware


def _space(run: Run, gpus: int | None, free: bool) -> Space:
    hardware_of(run)
    count = run.cluster.nodes * run.cluster.gpus_per_node if gpus is None else gpus
    check_gpus(count)
    space = Space(run, count, run.cluster.gpus_per_node, free)
    if run.model.layers > MOST_LAYERS:
        rule = f"must be at most {MOST_LAYERS} to be planned: more take minutes to cut into stages"
        raise ConfigError.of("model.layers", run.model.layers, rule, "a wider model with fewer layers")
    if space.samples * run.sequence_length > run.train.tokens:
        rule = f"must not be more tokens than the run has ({run.train.tokens:,})"
        raise ConfigError.of("batch.global_batch_size", space.samples, rule, "a smaller batch, or more train.tokens")
    return space


def check_gpus(count: int) -> None:
    """Raises ConfigError for a number that nobody has."""
    if not 1 <= count <= MOST_GPUS:
        raise ConfigError.of("--gpus", count, f"must be from 1 to {MOST_GPUS:,}", "for example --gpus 1024")


def _round_batch(text: str, sequence_length: int) -> int:
    """Samples; a size in tokens is rounded to three binary digits, so that 3.2M are the 1,536 samples of GPT-3's.

    Papers print rounded sizes, and only numbers with many divisors can be laid out. Raises ConfigError.
    """
    try:
        size = BatchSize.model_validate(text)
    except ValueError:
        rule = "must be a number of samples or of tokens"
        raise ConfigError.of("--batch", text, rule, "--batch 1536 or --batch 3.2M") from None
    if size.unit == "samples":
        return size.amount
    samples = max(1.0, size.amount / sequence_length)
    unit = max(1, (1 << int(log2(samples))) // 4)
    return round(samples / unit) * unit


def peak_of(gpu: str) -> float:
    """TFLOP/s of a GPU by its name, `a100-80gb` or `A100`. Raises ConfigError for one without a file."""
    known = known_hardware()
    named = [name for name in known if name == gpu.lower() or name.startswith(f"{gpu.lower()}-")]
    if not named:
        raise ConfigError.of("--budget", gpu, "must name a GPU whose speed is known", f"one of: {', '.join(known)}")
    return float(load_hardware(min(named, key=len))["tflops"])
