"""Every way of dividing the work gives the same bytes, also after kills; with all stages that compare documents on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pretrain.config.corpus import Corpus
from pretrain.config.errors import ConfigError
from pretrain.corpus import prepare as module
from pretrain.corpus.phases import phases
from pretrain.corpus.preparation import Preparation
from pretrain.corpus.prepare import prepare
from pretrain.corpus.slurm import do_rank
from tests.corpus.helpers import files, jsonl, recipe, write_jsonl
from tests.launch.fakes import FakeSlurm

WORDS = [f"word{i}" for i in range(500)]
STAGES = [
    ("read", 80, 80),
    ("length", 80, 80),
    ("lines", 80, 80),
    ("deduplicate", 80, 80),
    ("fuzzy", 80, 65),
    ("decontaminate", 65, 64),
]
"""Of the source `good`: documents in and out."""
LEAKED = " ".join(f"secret{i}" for i in range(20))


def everything(directory: Path, tokenizer: Path, inputs: Path | None = None, **more: object) -> Corpus:
    """A recipe with every phase and stage; its inputs are written once, beside `directory` if not elsewhere."""
    inputs = inputs or directory.parent
    if not (inputs / "eval.jsonl").exists():
        write_inputs(inputs)
    paths = [str(inputs / f"part-{i}.jsonl") for i in range(5)]
    sources = {"good": jsonl(*paths[:3]), "web": jsonl(*paths[3:], maximum_documents=40)}
    deduplicate = {"lines": {"minimum_words": 3}, "fuzzy": {}}
    decontaminate = {"files": str(inputs / "eval.jsonl")}
    whole = {"deduplicate": deduplicate, "decontaminate": decontaminate, "shard_size": 1500, **more}
    return recipe(directory, tokenizer, sources, **whole)


def write_inputs(folder: Path) -> None:
    """Documents of which some are nearly equal, share a line, or hold what is to be taken out."""
    chance = random.Random(0)
    texts = [" ".join(chance.choices(WORDS, k=80)) for _ in range(90)]
    texts += [f"{text} again" for text in texts[:20]]
    texts += [f"{text} twice\nThe same line in all of them." for text in texts[40:60]]
    texts += [f"{texts[30]} {LEAKED} {texts[31]}", LEAKED]
    chance.shuffle(texts)
    for i in range(5):
        write_jsonl(folder / f"part-{i}.jsonl", texts[i::5])
    (folder / "eval.jsonl").write_text(json.dumps({"question": LEAKED}) + "\n")


def made(directory: Path) -> dict[str, bytes]:
    """All files but the manifest, which names the directory."""
    return {name: content for name, content in files(directory).items() if name != "manifest.json"}


@pytest.fixture
def whole(tmp_path: Path, tokenizer: Path) -> dict[str, bytes]:
    """What one process makes."""
    prepare(everything(tmp_path / "whole", tokenizer))
    return made(tmp_path / "whole")


def test_every_stage_does_something(tmp_path: Path, tokenizer: Path) -> None:
    manifest = json.loads(prepare(everything(tmp_path / "out", tokenizer)).read_text())
    stages = [(s["name"], s["documents_in"], s["documents_out"]) for s in manifest["sources"]["good"]["stages"]]
    assert manifest["sources"]["web"]["stages"][2]["name"] == "limit"
    assert stages == STAGES
    assert len((tmp_path / "out" / "contamination.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("tasks", [1, 2, 7])
def test_any_number_of_tasks(tasks: int, tmp_path: Path, tokenizer: Path, whole: dict[str, bytes]) -> None:
    """As jobs of a cluster do it: each rank takes its part of a phase, in any order."""
    preparation = _opened(everything(tmp_path / "out", tokenizer))
    for phase in phases(preparation):
        for rank in reversed(range(1 if phase.alone else tasks)):
            do_rank(None, rank, 1 if phase.alone else tasks, str(tmp_path / "out"), phase.name)
    assert made(tmp_path / "out") == whole


def test_processes(tmp_path: Path, tokenizer: Path, whole: dict[str, bytes]) -> None:
    prepare(everything(tmp_path / "out", tokenizer, workers=2))
    assert made(tmp_path / "out") == whole


KILLED = """
import os, signal, sys, yaml
from pretrain.config.corpus import Corpus
from pretrain.corpus import phases
from pretrain.corpus.prepare import prepare
from pretrain.shards import files

name, left, replace = sys.argv[2], int(sys.argv[3]), os.replace
now = None

def replace_or_die(source, target):
    global left
    left -= now == name
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

def named(phase):
    def tasks(preparation):
        global now
        now = phase.name
        return phase.tasks(preparation)
    return phases.replace(phase, tasks=tasks)

made = phases.phases
from pretrain.corpus import prepare as module
module.phases = lambda preparation: [named(phase) for phase in made(preparation)]
os.replace = replace_or_die
prepare(Corpus.parse(yaml.safe_load(sys.argv[1])))
"""


@pytest.mark.parametrize(
    ("phase", "renames"),
    [("read", 7), ("lines", 2), ("rewrite", 5), ("select", 0), ("select", 3), ("encode", 4), ("finish", 0)],
)
def test_killed_in_a_phase(phase: str, renames: int, tmp_path: Path, tokenizer: Path, whole: dict[str, bytes]) -> None:
    plain = everything(tmp_path / "out", tokenizer)
    command = [sys.executable, "-c", KILLED, yaml.safe_dump(plain.plain(), sort_keys=False), phase, str(renames)]
    assert subprocess.run(command).returncode == -9, "prepared before it was to be killed: give a smaller number"
    assert not (tmp_path / "out" / "manifest.json").exists()
    prepare(plain)
    assert made(tmp_path / "out") == whole


@pytest.mark.parametrize("name", ["read", "lines", "rewrite", "select", "encode", "finish"])
def test_a_full_disk_in_a_phase(
    name: str, small_disk: Callable[[int], Path], tmp_path: Path, tokenizer: Path, whole: dict[str, bytes]
) -> None:
    """One error; when there is room again the same command goes on."""
    folder = small_disk(4 << 20)
    plain = everything(folder / "out", tokenizer, inputs=tmp_path)
    preparation = _opened(plain)
    filler = folder / "filler"
    for phase in phases(preparation):
        if phase.name == name:
            with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            break
        do_rank(None, 0, 1, str(folder / "out"), phase.name)
    with pytest.raises(ConfigError, match=r"the disk is full|the file is too large"):
        prepare(plain)
    assert not (folder / "out" / "manifest.json").exists()
    filler.unlink()
    prepare(plain)
    assert made(folder / "out") == whole


def test_a_worker_that_is_killed(tmp_path: Path, tokenizer: Path, whole: dict[str, bytes]) -> None:
    """As the kernel does when memory runs out: one error, and what was finished is kept."""
    plain = everything(tmp_path / "out", tokenizer, workers=2)
    script = "import sys; from tests.corpus.test_phases import killing; killing(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", script, yaml.safe_dump(plain.plain(), sort_keys=False)])
    assert done.returncode == 7
    prepare(plain)
    assert made(tmp_path / "out") == whole


def killing(text: str) -> None:
    """Prepare, and kill a worker when the first unit is read; ends with 7 when that is said."""
    from concurrent.futures import process

    pool: list[process.ProcessPoolExecutor] = []
    started = process.ProcessPoolExecutor._start_executor_manager_thread

    def noted(executor: process.ProcessPoolExecutor) -> None:
        pool.append(executor)
        started(executor)

    def kill(directory: Path) -> None:
        while not list(directory.rglob("unit-*.json")):
            time.sleep(0.001)
        os.kill(next(iter(pool[0]._processes)), signal.SIGKILL)

    process.ProcessPoolExecutor._start_executor_manager_thread = noted
    plain = Corpus.parse(yaml.safe_load(text))
    threading.Thread(target=kill, args=[Path(plain.corpus_directory)], daemon=True).start()
    try:
        prepare(plain)
    except ConfigError as error:
        sys.exit(7 if "a worker process was killed" in str(error) else 1)


def test_a_part_is_never_taken_for_the_whole(tmp_path: Path, tokenizer: Path) -> None:
    """One task of a phase did not come to its end, and the next phase starts anyway."""
    _opened(everything(tmp_path / "out", tokenizer))
    do_rank(None, 0, 2, str(tmp_path / "out"), "read")
    with pytest.raises(ConfigError, match="unit 1 has not come through the phase `read`"):
        do_rank(None, 0, 1, str(tmp_path / "out"), "lines")
    do_rank(None, 1, 2, str(tmp_path / "out"), "read")
    do_rank(None, 0, 1, str(tmp_path / "out"), "lines")
    do_rank(None, 0, 1, str(tmp_path / "out"), "rewrite")
    do_rank(None, 0, 1, str(tmp_path / "out"), "select")
    do_rank(None, 0, 2, str(tmp_path / "out"), "encode")
    with pytest.raises(ConfigError, match="is a shard that is not written yet"):
        do_rank(None, 0, 1, str(tmp_path / "out"), "finish")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_parameter_changed_half_way_makes_all_anew(
    tmp_path: Path, tokenizer: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = everything(tmp_path / "out", tokenizer, decontaminate=None)
    _opened(other)
    for rank in range(2):
        do_rank(None, rank, 3, str(tmp_path / "out"), "read")
    prepare(everything(tmp_path / "out", tokenizer))
    assert made(tmp_path / "out") == whole


def _opened(plain: Corpus) -> Preparation:
    """A preparation before its first phase."""
    with pytest.MonkeyPatch.context() as patch:
        kept: list[Preparation] = []
        patch.setattr(module, "run_here", lambda preparation, _: kept.append(preparation))
        prepare(plain)
    kept[0].save()
    return kept[0]


@pytest.fixture
def jobs(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """A corpus of which SLURM's job 17 has read a part."""
    _opened(everything(tmp_path / "out", tokenizer))
    do_rank(None, 0, 2, str(tmp_path / "out"), "read")
    (tmp_path / "out" / ".prepare" / "jobs.json").write_text('{"read": "17"}')
    fake = FakeSlurm(tmp_path)
    for name, value in fake.environment.items():
        monkeypatch.setenv(name, value)
    fake.answer(squeue_out="17 RUNNING\n17 PENDING")
    return fake


def test_nobody_gets_between_the_jobs_of_a_cluster(jobs: FakeSlurm, tmp_path: Path, tokenizer: Path) -> None:
    """They hold no lock. Told only to the recipe that submitted them."""
    slurm = {"kind": "slurm", "partition": "cpu"}
    prepare(everything(tmp_path / "out", tokenizer, executor=slurm))
    assert [call.split()[0] for call in jobs.calls] == ["squeue"]
    for more in ({}, {"executor": slurm, "shard_size": 2000}):
        with pytest.raises(ConfigError, match=r"is being prepared by jobs of SLURM\n.*scancel 17"):
            prepare(everything(tmp_path / "out", tokenizer, **more))
    assert (tmp_path / "out" / ".prepare" / "read" / "good").is_dir()


def test_a_cluster_that_does_not_answer_is_not_one_without_jobs(
    jobs: FakeSlurm, tmp_path: Path, tokenizer: Path
) -> None:
    jobs.answer(squeue_error="you are not a user of this cluster")
    with pytest.raises(ConfigError, match=r"does not tell how they stand .*not a user"):
        prepare(everything(tmp_path / "out", tokenizer))
    jobs.answer(squeue_error="slurm_load_jobs error: Invalid job id specified")
    assert prepare(everything(tmp_path / "out", tokenizer)).is_file()


def test_only_as_many_examples_as_are_shown_are_held_in_memory(tmp_path: Path, tokenizer: Path) -> None:
    """Each of three units has 20 of 30 dropped documents; a crawl has tens of thousands of units."""
    paths = [write_jsonl(tmp_path / f"{i}.jsonl", [f"too short {i} {j}" for j in range(30)]) for i in range(3)]
    source = jsonl(*paths, clean={"gopher_quality": {}})
    preparation = _opened(recipe(tmp_path / "out", tokenizer, {"a": source}))
    do_rank(None, 0, 1, str(tmp_path / "out"), "read")
    assert [len(unit.dropped) for unit in preparation.results("read")["a"]] == [20, 0, 0]
