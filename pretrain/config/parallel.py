"""How a run is laid over processes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pretrain.config.section import Section


class Parallel(Section):
    """How the run is laid over processes: pipe x data x tensor. Never changes the loss."""

    auto: bool = False
    """Choose tensor, pipe and zero for the number of processes, but for those given here; `parallel: auto`: all. Where
    cluster.hardware is known, every field here, by the search of `pretrain plan`."""
    tensor: int = Field(1, ge=1)
    """Processes that share each layer's matrices (Shoeybi et al. 2019); neighbours inside one node."""
    pipe: int = Field(1, ge=1)
    """Processes in a row that hold consecutive layers; each runs its stage on one micro-batch after the other."""
    zero: Literal[0, 1, 2, 3] = 1
    """ZeRO stage over the data axis (Rajbhandari et al. 2020), whose size is processes / (tensor x pipe)."""
    sequence_parallel: bool | None = None
    """Cut norms and residuals by tokens over the tensor axis (Korthikanti et al. 2022). Default: where tensor > 1."""
    schedule: Literal["1f1b", "dualpipev"] = "1f1b"
    """Order of micro-batches in a pipeline. dualpipev: two stages a process, fewer idle slots (DeepSeek-AI 2024)."""
    recompute: Literal["none", "selective", "full"] = "none"
    """Activations computed again in the backward pass: of the attention core (selective), or of whole blocks (full)."""
    recompute_every: int = Field(1, ge=1)
    """With recompute: full, every n-th block only."""
    offload: Literal["none", "optimizer", "all"] = "none"
    """What lives in the host's memory instead of the GPU's: optimizer state, or with ZeRO 3 the parameters too."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        if isinstance(value, str):
            if value != "auto":
                raise ValueError("must be `auto` or a mapping; fix: parallel: auto")
            return {"auto": True}
        return value

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """With `auto` only what was given: a default that is written out would be taken for a wish."""
        plain: dict[str, Any] = write(self)
        return {key: value for key, value in plain.items() if not self.auto or key in self.model_fields_set}

    @property
    def splits_sequence(self) -> bool:
        """Whether tokens are cut over the tensor axis between the parallel layers."""
        return self.tensor > 1 if self.sequence_parallel is None else self.sequence_parallel
