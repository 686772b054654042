"""Planned memory against published: states, activations, peaks, and what fitted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from benchmarks.published import jobs_of, read_rows
from pretrain.config.widths import Widths
from pretrain.planning.job import Job
from pretrain.planning.keeping import Keeping
from pretrain.planning.memory import zero_states
from pretrain.planning.stage_memory import StageMemory, stage_memory

GIB = 2**30
MEGATRON = Keeping(widths=Widths(2, 4, 12), bucket=0, softmax=2, logit=12)
MEGATRON_DEEPSPEED = Keeping(widths=Widths(2, 2, 18), bucket=1e9, softmax=2, logit=12)
BF16 = replace(MEGATRON_DEEPSPEED, widths=Widths(2, 6, 12), bucket=4e9)
ALEPH = Keeping(widths=Widths(2, 2, 12), bucket=0, softmax=4, logit=20, gathers_logits=True)
TORCHTITAN = Keeping(widths=Widths(4, 4, 8), logit=16, products=True, in_pieces=False)
GROUPS = {
    "Kort": ("korthikanti22_t5", MEGATRON, "blocks"),
    "BigS": ("bigscience_a100", MEGATRON_DEEPSPEED, "ends"),
    "Hage": ("hagemann23", ALEPH, "blocks"),
    "pyto": ("torchtitan", TORCHTITAN, "blocks"),
}


def job_of(row):
    group, keeps, cut = GROUPS[row["source"][:4]]
    row = dict(row, group=group, notes=row.get("notes") or "", inter_link="")
    row["gpus_per_node"] = row.get("gpus_per_node") or "8"
    row.setdefault("mlp", "swiglu" if group == "torchtitan" else "gelu")
    row.setdefault("attn_kernel", "flash" if group == "torchtitan" else "fused")
    row.setdefault("kv_heads", "8" if group == "torchtitan" else row["heads"])
    if group == "bigscience_a100":
        keeps = BF16 if row["precision"].startswith("bf16") else keeps
        if row["zero"] == "0": keeps = replace(keeps, widths=Widths(2,2,20))
        layers=int(float(row["layers"] or 0))
        pp=int(float(row["pp"]))
        if layers and (layers+2)%pp: cut="blocks"
    if group == "torchtitan":
        notes = row["notes"] + row["where"]
        keeps = replace(keeps, logit=4 if "2025" in notes else 12 if "compile" in notes else 16)
    if group == "hagemann23":
        keeps = replace(keeps, fused_norm="RMS kernel" in row["attn_kernel"])
    if row.get("cp"):
        cp=int(float(row["cp"])); row["seq"]=str(int(float(row["seq"]))//cp); row["dp"]=str(int(float(row["dp"]))*cp)
    job = next(jobs_of(row))
    return replace(job, practice=replace(job.practice, keeps=keeps, cut=cut))


def worst(job, places=None):
    return max((stage_memory(job, p) for p in places or range(job.layout.pipe)), key=lambda m: m.total)


def rows_fit(directory):
    for row in read_rows(directory / "fits-or-oom.csv"):
        yield row, job_of(row)


def rows_peak(directory):
    for row in read_rows(directory / "memory.csv"):
        if row["source"][:4] in ("BigS", "pyto"):
            yield row, job_of(row)


def rows_kort(directory):
    for row in read_rows(directory / "memory.csv"):
        if row["source"][:4] == "Kort":
            yield row, job_of(row)

if __name__ == "__main__":
    d = Path(sys.argv[1])
    for row, job in rows_kort(d):
        m = stage_memory(job, 0)
        print(row["model"], row["recompute"], row["seq_parallel"], row["quantity"][:20], row["value"], round((m.weights+m.gradients+m.optimizer)/GIB,2), round(m.activations/GIB,2))
    errs = {}
    for row, job in rows_peak(d):
        unit = GIB if row["unit"] == "GiB" else 1e9
        places = None if row["source"][0]=="p" else sorted({0, job.layout.pipe-1})
        m = worst(job, places); v = float(row["value"])*unit
        errs.setdefault(row["source"][:4], []).append(m.total/v-1)
        print(row["where"][17:27],"L",job.run.model.layers,"C",job.run.model.d_model,"a",job.run.model.heads,"tp",row["tp"],"pp",row["pp"],"dp",row["dp"],"z",row["zero"],"mbs",row["mbs"],row["precision"][:4], round(v/1e9,1), round(m.total/1e9,1), f"{m.total/v-1:+.1%}", [round(x/1e9,1) for x in m])
    for k, e in errs.items(): print(k, "mape", mean(map(abs,e)), "bias", mean(e))
    conf={}
    for row, job in rows_fit(d):
        m=worst(job); ok=m.total<=85.2e9
        key=(row["source"][:4], row["outcome"], ok)
        conf[key]=conf.get(key,0)+1
        if ok != (row["outcome"]=="ok") : print(row["outcome"], "planned", round(m.total/1e9,1), row["model"], row["seq"], row["attn_kernel"], row["recompute"], row["seq_parallel"], row["n_gpus"],"tp",row["tp"],"pp",row["pp"],"mbs",row["mbs"],[round(x/1e9,1) for x in m])
    print(conf)
