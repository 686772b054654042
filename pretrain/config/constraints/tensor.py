"""Rules about the tensor axis: every matrix and every table is cut into equal pieces (Shoeybi et al. 2019)."""

from __future__ import annotations

from math import lcm

from pretrain.config.constraints.rule import Case, Constraint, Violations, closest, divisors, multiples
from pretrain.config.errors import Problem
from pretrain.config.model import Model


def tensor_fits(case: Case, tensor: int) -> bool:
    """Whether each rule below that cuts something allows `tensor`: what a fix may name."""
    run, model = case.run, case.run.model
    cut = [model.heads, model.mlp_width, _vocabulary(model)]
    cut += [model.context] if model.positions == "learned" else []
    cut += [run.sequence_length] if run.parallel.sequence_parallel is not False else []
    cut += [case.node_size] if case.node_size else []
    return all(size % tensor == 0 for size in cut) and _keys_fit(model, tensor)


def _heads(case: Case) -> Violations:
    if case.run.model.heads % case.run.parallel.tensor:
        yield _refused(case, f"must divide model.heads ({case.run.model.heads})")


def _key_heads(case: Case) -> Violations:
    model, tensor = case.run.model, case.run.parallel.tensor
    if model.kv_heads and not _keys_fit(model, tensor):
        valid = [n for n in divisors(model.heads) if _keys_fit(model.model_copy(update={"kv_heads": n}), tensor)]
        other = [f"model.kv_heads: {closest(model.kv_heads, valid)}"] if valid else []
        rule = f"must divide model.kv_heads ({model.kv_heads}), or be a multiple of it that divides their width"
        yield _refused(case, f"{rule} ({model.kv_heads * model.head_width})", *other)


def _mlp(case: Case) -> Violations:
    width, tensor = case.run.model.mlp_width, case.run.parallel.tensor
    if width % tensor:
        yield _refused(case, f"must divide the width of the MLP ({width})", f"model.d_ff: {multiples(width, tensor)}")


def _vocabulary_rows(case: Case) -> Violations:
    model, tensor = case.run.model, case.run.parallel.tensor
    if _vocabulary(model) % tensor:
        what = "the padded vocabulary" if model.vocab_size else "model.vocab_multiple, while vocab_size is not known,"
        rule = f"must divide {what} ({_vocabulary(model)})"
        yield _refused(case, rule, f"model.vocab_multiple: {lcm(model.vocab_multiple, tensor)}")


def _positions(case: Case) -> Violations:
    model, tensor = case.run.model, case.run.parallel.tensor
    if model.positions == "learned" and model.context % tensor:
        rule = f"must divide model.context ({model.context}), the rows of the position table"
        yield _refused(case, rule, f"model.context: {multiples(model.context, tensor)}")


def _sequence(case: Case) -> Violations:
    run, parallel = case.run, case.run.parallel
    if parallel.sequence_parallel and parallel.tensor == 1:
        sizes = [n for n in divisors(case.free(parallel.pipe)) if n > 1 and tensor_fits(case, n)]
        other = f" or parallel.tensor: {sizes[0]}" if sizes else ""
        fix = f"parallel.sequence_parallel: false{other}"
        yield Problem("parallel.sequence_parallel", True, "needs parallel.tensor above 1", fix)
    elif parallel.splits_sequence and run.sequence_length % parallel.tensor:
        other = "" if run.model.dropout else "parallel.sequence_parallel: false"
        rule = f"must divide the sequence length ({run.sequence_length}), whose tokens it shares out"
        yield _refused(case, rule, *filter(None, [other]))


def _dropout(case: Case) -> Violations:
    run, parallel = case.run, case.run.parallel
    if run.model.dropout and parallel.tensor > 1 and not parallel.splits_sequence:
        whole = run.sequence_length % parallel.tensor == 0
        fix = f"{'parallel.sequence_parallel: true or ' if whole else ''}model.dropout: 0"
        rule = f"must be true with model.dropout ({run.model.dropout:g}) and parallel.tensor ({parallel.tensor})"
        yield Problem("parallel.sequence_parallel", False, rule, fix)


def _node(case: Case) -> Violations:
    if case.node_size and case.node_size % case.run.parallel.tensor:
        yield _refused(case, f"must divide the processes of a node ({case.node_size})")


def _refused(case: Case, rule: str, *others: str) -> Problem:
    """The tensor size with the nearest one that the processes and every rule here allow; 1 always is."""
    tensor = case.run.parallel.tensor
    sizes = [n for n in divisors(case.free(case.run.parallel.pipe)) if tensor_fits(case, n)]
    fix = " or ".join((f"parallel.tensor: {closest(tensor, sizes)}", *others))
    return Problem("parallel.tensor", tensor, rule, fix)


def _keys_fit(model: Model, tensor: int) -> bool:
    heads = model.key_heads
    return (heads % tensor == 0 or tensor % heads == 0) and heads * model.head_width % tensor == 0


def _vocabulary(model: Model) -> int:
    """Rows of the embedding, or until the tokenizer is known the number that they will be a multiple of."""
    return model.padded_vocabulary if model.vocab_size else model.vocab_multiple


TENSOR = (
    Constraint(
        "tensor-heads",
        "heads % tensor = 0",
        "attention is cut by whole heads, so that each process computes its own without exchange",
        _heads,
    ),
    Constraint(
        "tensor-kv-heads",
        "kv_heads % tensor = 0 or tensor % kv_heads = 0; (kv_heads x d_head) % tensor = 0",
        "with more processes than key heads each computes an equal piece of one, and its neighbours gather it",
        _key_heads,
    ),
    Constraint("tensor-mlp", "d_ff % tensor = 0", "the MLP is cut by its inner width", _mlp),
    Constraint(
        "tensor-vocabulary",
        "padded vocabulary % tensor = 0",
        "the embedding is cut by rows, and how many it has must not depend on the layout: the same weights load in all",
        _vocabulary_rows,
    ),
    Constraint(
        "tensor-context",
        "with learned positions, context % tensor = 0",
        "the table of positions is cut by rows like the embedding",
        _positions,
    ),
    Constraint(
        "sequence-parallel-tensor",
        "sequence_parallel: true needs tensor > 1; with it, sequence length % tensor = 0",
        "tokens are shared out equally over the tensor axis (Korthikanti et al. 2022)",
        _sequence,
    ),
    Constraint(
        "dropout-tensor",
        "dropout > 0 with tensor > 1 needs sequence_parallel",
        "else tensor ranks would need equal masks on what they all hold and different ones on what they share out",
        _dropout,
    ),
    Constraint(
        "tensor-node",
        "processes per node % tensor = 0, where they are known",
        "tensor ranks exchange twice in every layer, which only the links inside a node are fast enough for",
        _node,
    ),
)
