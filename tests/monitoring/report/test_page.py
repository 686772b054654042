"""The page, its pictures and the command."""

from __future__ import annotations

import fcntl
import warnings
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pretrain.cli.main import app
from pretrain.config.errors import ConfigError
from pretrain.config.load import merge
from pretrain.monitoring.report import make_parts, render, write
from pretrain.monitoring.report.read import read_runs
from pretrain.monitoring.report.sections.loss import BITS, UNCOMMON
from tests.monitoring.report.runs import CONFIG, attempt_rows, make_run, rows, train_row, validation_row
from tests.monitoring.report.runs import write as write_rows
from tests.parsed import Parsed

EVIL = "<script>alert(1)</script>"


def page_of(*directories: Path) -> Parsed:
    runs = read_runs(list(directories))
    return Parsed(render(runs, make_parts(runs)))


def other(tmp_path: Path, **changes: Any) -> Path:
    return make_run(tmp_path / "two", config=merge(CONFIG, {"name": "two", **changes}))


def test_uncommitted_code_is_not_handed_around(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "run"))
    assert "torch==2" in page.all and "hidden" not in page.all


def test_a_finished_run(tmp_path: Path) -> None:
    text = attempt_rows((1000.0, 1030.0, 0, 14, "failed"), (1040.0, 1075.0, 10, 20, "finished"))
    page = page_of(make_run(tmp_path / "run", attempts_jsonl=text))
    assert "finished after 20 steps, 2k tokens of 4k (50%)." in page.all
    assert "Validation loss 4.1500 nats per token, 1.9957 bits per byte; the best so far." in page.all
    assert "That is 0.100 below bigrams." in page.all and "Events: restart 1." in page.all
    assert "Of 1:15 in all, 37.3% was lost (data wait 0:10, between attempts 0:10, done again 0:08)." in page.all
    assert ["web", "4.4000", "1.5870"] in page.rows and ["all", "4.1500", "1.9957"] in page.rows
    assert ["bigrams", "4.2500", "2.0438"] in page.rows
    assert ["web", "1.5k", "75.0%", "62.5%", "+12.50"] in page.rows
    assert ["1", "1970-01-01 00:16:40", "0:30", "0 to 14", "1", "local a", "failed", "4", "0:10"] in page.rows


def test_nothing_is_fetched_and_texts_stay_text(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", samples_jsonl=f'{{"step": 5, "tokens": 500, "prompt": "{EVIL}", "text": "x"}}\n')
    with open(path / "metrics.jsonl", "a") as file:
        file.write(f'{{"kind": "event", "step": 5, "tokens": 500, "message": "{EVIL}"}}\n')
    page = page_of(path)
    assert page.all.count(EVIL) == 2
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in page.elements}
    addresses = [
        value for _, given in page.elements for name, value in given.items() if name in ("src", "href", "xlink:href")
    ]
    assert addresses and all(str(value).startswith("#") for value in addresses)


def test_several_runs(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "one"), other(tmp_path, optimizer={"learning_rate": 0.003}))
    assert ["optimizer.learning_rate", "0.001", "0.003"] in page.rows
    assert [row[0] for row in page.rows if "." in row[0] and row[0][:4] in ("trai", "mode", "data")] == []
    assert BITS not in page.all and "bigrams 4.250" in page.all
    assert page.all.count("bigrams 4.250") == 2, "one line for both runs, in two figures"


def test_different_vocabularies_are_compared_in_bits_per_byte(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "one"), other(tmp_path, model={"vocab_size": 1024}))
    assert BITS in page.all and "Loss, bits per byte" in page.all and "nats per token, log" not in page.all
    assert ["last validation", "one, bits per byte", "two, bits per byte"] in page.rows
    assert ["model.vocab_size", "512", "1024"] in page.rows


def test_runs_without_a_common_validation(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one"), other(tmp_path)
    found = [{name: value for name, value in row.items() if "/" not in name} for row in rows(20)]
    write_rows(two / "metrics.jsonl", [{**row, "loss/news": row["loss"]} if "loss" in row else row for row in found])
    page = page_of(one, two)
    assert UNCOMMON in page.all and ["news", "", "", "4.1500", ""] in page.rows
    assert UNCOMMON not in page_of(one).all


def test_without_ngrams_it_says_how_to_get_them(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    write_rows(path / "metrics.jsonl", rows(20)[1:])
    assert "No n-gram lines for one: train.ngram_baselines: true in the YAML" in page_of(path).all


def test_a_run_without_metrics_still_has_a_page(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    (path / "metrics.jsonl").unlink()
    page = page_of(path)
    assert "not started; metrics.jsonl has no training rows." in page.all
    assert page.headings == ["Summary", "Configuration", "Environment"] and "learning_rate: 0.001" in page.all


def test_a_run_with_one_row(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    write_rows(path / "metrics.jsonl", [train_row(1, 5.0)])
    page = page_of(path)
    assert "Not validated yet; the training loss is 5.0000." in page.all and "Loss" in page.headings


def test_a_running_run(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    with open(path / "metrics.jsonl", "a") as metrics, open(path / "lock", "w") as lock:
        metrics.write('{"kind":"tr')
        fcntl.flock(lock, fcntl.LOCK_EX)
        page = page_of(path)
    assert "running, step 20, 2k tokens of 4k (50%), about 0:40 to go." in page.all
    assert "Not everything could be read" not in page.all


def test_what_could_not_be_read_is_told(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    with open(path / "metrics.jsonl", "a") as file:
        file.write("{broken\n")
    page = page_of(path)
    assert "Not everything could be read." in page.all and "one: metrics.jsonl: 1 left out, line 26" in page.all


def test_a_run_whose_losses_are_no_numbers(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    nothing = {"loss": None, "loss/web": None, "loss/books": None, "grad_norm": None}
    write_rows(path / "metrics.jsonl", [train_row(step, 1.0) | nothing for step in (1, 2)])
    assert "Not validated yet; no training loss is one." in page_of(path).all
    both = [train_row(1, 5.0), train_row(2, 1.0) | nothing, validation_row(2, 1.0) | nothing | {"bits_per_byte": None}]
    write_rows(path / "metrics.jsonl", both)
    assert "No validation loss is a number; the training loss is 5.0000." in page_of(path).all


@pytest.mark.filterwarnings("error:Glyph:UserWarning")
def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    """Neither formulas nor letters that a font lacks; and two names never become one file."""
    text = attempt_rows((1000.0, 1030.0, 0, 14, "failed"), (1040.0, 1075.0, 10, 20, "finished"))
    path = make_run(tmp_path / "run", config=merge(CONFIG, {"name": r"a$\frac$b"}), attempts_jsonl=text)
    metrics = (path / "metrics.jsonl").read_text()
    (path / "metrics.jsonl").write_text(metrics.replace("/web", "/뉴스").replace("/books", "/위키"))
    page = page_of(path)
    assert r"Events: a$\frac$b" in page.all and "뉴스, nats per token" in page.all
    pictures = [picture for part in make_parts(read_runs([path])) for picture in part.pictures]
    with warnings.catch_warnings(action="ignore"):  # of letters in the PNG, where no font has them
        saved = [file for picture in pictures if picture.name.startswith("loss-") for file in picture.save(tmp_path)]
    assert {file.name for file in saved} >= {"loss-뉴스.svg", "loss-위키.svg", "loss-뉴스.png"}


@pytest.mark.parametrize("out", ["", "file/page.html"])
def test_a_page_that_cannot_be_written(tmp_path: Path, out: str) -> None:
    path = make_run(tmp_path / "run", steps=1)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        write([path], tmp_path / out)


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    runs = read_runs([make_run(tmp_path / "run")])
    first, second = make_parts(runs), make_parts(runs)
    assert render(runs, first) == render(runs, second)
    svg, png = first[1].pictures[0].save(tmp_path / "a")
    again = second[1].pictures[0].save(tmp_path / "b")
    assert [svg.name, png.name] == ["loss.svg", "loss.png"]
    assert [path.read_bytes() for path in (svg, png)] == [path.read_bytes() for path in again]
    text = svg.read_text()
    assert text.startswith("<svg") and "var(--" not in text and "bigrams 4.250" in text
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_long_run_makes_a_small_page(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    found = [train_row(step, 4 + 1 / step) for step in range(1, 20_001)]
    write_rows(path / "metrics.jsonl", [*found, validation_row(20_000, 4.0)])
    assert len(write([path], tmp_path / "page.html")[0].read_bytes()) < 1_000_000


def test_command(tmp_path: Path) -> None:
    path, invoke = make_run(tmp_path / "run"), CliRunner().invoke
    write_rows(path / "metrics.jsonl", [{"kind": "train", "step": 1, "tokens": 100, "loss": 5.0}])
    done = invoke(app, ["report", str(path)])
    assert done.exit_code == 0 and done.output == f"wrote {path / 'report.html'}\n"
    pictures = tmp_path / "new" / "pictures"
    done = invoke(app, ["report", str(path), "--out", str(tmp_path / "x.html"), "--png", str(pictures)])
    assert done.output == f"wrote {tmp_path / 'x.html'} and 4 files in {pictures}\n"
    assert sorted(file.name for file in pictures.iterdir()) == [
        f"{name}.{kind}" for name in ("loss-on-logarithmic-axes", "loss") for kind in ("png", "svg")
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="must be a run directory"):
        invoke(app, ["report", str(tmp_path / "empty")], catch_exceptions=False)
    with pytest.raises(ConfigError, match="must be a run directory, a name in runs"):
        invoke(app, ["report", str(tmp_path / "nothing")], catch_exceptions=False)


def test_a_prompt_asks_for_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("pretrain.training.samples.write_samples", lambda run, prompts, tell: asked.append(prompts))
    CliRunner().invoke(app, ["report", str(make_run(tmp_path / "run", steps=1)), "--prompt", "The"])
    assert asked == [["The"]]


def test_planned_and_measured(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    assert "Planned and measured" not in page_of(path).all
    row = {"kind": "planned", "step": 20, "tokens": 2000, "step_seconds": 1.6, "measured_step_seconds": 2.0}
    write_rows(path / "metrics.jsonl", [*rows(20), row | {"tokens_per_second": 62.5, "measured_tokens_per_second": 50}])
    page = page_of(path)
    assert ["one", "seconds a step", "1.6", "2", "1.25"] in page.rows
    assert ["one", "tokens per second", "62.5", "50", "0.80"] in page.rows
    assert not any("memory of the writing rank's GPU" in cell for row in page.rows for cell in row)
