"""A run's vocabulary and tokenizer are those of its corpus."""

from __future__ import annotations

from pretrain.config.errors import ConfigError
from pretrain.config.run import Run
from pretrain.shards.manifest import Manifest


def with_vocabulary(run: Run, manifest: Manifest) -> Run:
    """The run with its model's vocabulary filled in from the corpus.

    Raises ConfigError when the run's tokenizer is not the manifest's, or the model's vocabulary is too small for it.
    """
    recorded = manifest.tokenizer
    if run.tokenizer is not None:
        from tokenizer import load_tokenizer

        given = load_tokenizer(run.tokenizer)
        if (given.fingerprint, given.end_of_text) != (recorded.fingerprint, recorded.end_of_text):
            rule = (
                f"has fingerprint {given.fingerprint} and end-of-text {given.end_of_text}, "
                f"the manifest's tokens were made with {recorded.fingerprint} and {recorded.end_of_text}"
            )
            fix = f"leave it out, or use {manifest.directory / recorded.path}"
            raise ConfigError.of("tokenizer", run.tokenizer, rule, fix)
    size = run.model.vocab_size or recorded.vocab_size
    if size < recorded.vocab_size:
        rule = f"must hold the {recorded.vocab_size} tokens of the corpus's tokenizer"
        raise ConfigError.of("model.vocab_size", size, rule, "leave it out")
    model = run.model.model_copy(update={"vocab_size": size})
    return run.model_copy(update={"model": model})
