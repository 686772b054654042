"""Greedy text with a key/value cache against transformers: python -m benchmarks.generation

The same random weights in both, a prompt of 32 tokens and 192 after it, one thread. Cold processes in turn; the text
must be the same to the token.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

ROUNDS, PROMPT, NEW = 5, 32, 192
SHAPES = {
    "6 x 384, vocabulary 8,192": {"layers": 6, "d_model": 384, "heads": 6, "context": 256, "vocab_size": 8192},
    "gpt3-125m, vocabulary 50,257": {"layers": 12, "d_model": 768, "heads": 12, "context": 256, "vocab_size": 50257},
}


def main() -> None:
    """Print a table with the ratio of each shape."""
    print("| model | ours, tokens per CPU second | transformers | ratio | |\n|---|---|---|---|---|")
    for shape in SHAPES:
        found: dict[str, list[float]] = {"ours": [], "theirs": []}
        texts = set()
        for number in range(ROUNDS):
            for way in sorted(found, reverse=number % 2 == 1):
                seconds, text = measure(shape, way)
                found[way].append(seconds)
                texts.add(tuple(text))
        ratio = statistics.median(b / a for a, b in zip(found["ours"], found["theirs"], strict=True))
        ours, theirs = (NEW / statistics.median(found[way]) for way in ("ours", "theirs"))
        verdict = "ok" if ratio >= 1 and len(texts) == 1 else "MISSED"
        same = "same text" if len(texts) == 1 else "TEXTS DIFFER"
        print(f"| {shape} | {ours:,.0f} | {theirs:,.0f} | {ratio:.2f} | {verdict}, {same} |")


def measure(shape: str, way: str) -> tuple[float, list[int]]:
    """CPU seconds and tokens of one process."""
    command = [sys.executable, "-m", "benchmarks.generation", shape, way]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    seconds, text = json.loads(done.stdout.splitlines()[-1])
    return seconds, text


def run(shape: str, way: str) -> None:
    """Generate once to warm up and once for the clock, in this process."""
    import torch

    from pretrain.config.model import Model
    from pretrain.model.generate import generate
    from pretrain.model.transformer import Transformer
    from tests.model.test_huggingface import from_gpt2, gpt2

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = Model.parse(SHAPES[shape])
    theirs = gpt2(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # far from ties between logits
            parameter.add_(torch.randn_like(parameter), alpha=0.1 if parameter.dim() == 1 else 0.02)
    ours = Transformer(config).eval()
    fill(ours, from_gpt2(dict(theirs.named_parameters()), config.layers))
    prompt = torch.randint(config.vocabulary, (PROMPT,)).tolist()

    def make() -> list[int]:
        if way == "ours":
            return list(generate(ours, prompt, NEW, temperature=0))
        out = theirs.generate(
            torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False, pad_token_id=0, eos_token_id=-1
        )
        return out[0, PROMPT:].tolist()  # type: ignore[no-any-return]

    make()
    started = time.process_time()
    text = make()
    print(json.dumps([time.process_time() - started, text]))


def fill(model: object, weights: dict[str, object]) -> None:
    """Copy weights of the true vocabulary into a model with padded rows."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():  # type: ignore[attr-defined]
            value = weights[name]
            parameter.zero_()
            parameter[: value.shape[0]] = value  # type: ignore[attr-defined]


if __name__ == "__main__":
    if len(sys.argv) == 3:
        run(sys.argv[1], sys.argv[2])
    else:
        main()
