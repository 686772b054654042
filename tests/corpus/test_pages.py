"""Web pages: what is text and what is not, in which character set; archives of them, whole and damaged."""

import gzip
import io
from pathlib import Path
from typing import Any

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pretrain.config.errors import ConfigError
from pretrain.corpus.document import Broken, Document
from pretrain.corpus.prepare import prepare
from pretrain.corpus.sources.pages import ELEMENTS, decode, read_page
from pretrain.shards.manifest import load_manifest
from tests.corpus.helpers import documents, recipe
from tests.corpus.test_sources import records, texts

SENTENCE = "오늘은 날씨가 좋아서 강가를 따라 오래 걸었고, 저녁에는 친구들과 함께 밥을 먹었습니다."
EMPTY = b"<html><body><script>var a = 1;</script></body></html>"


def page(text: str = SENTENCE, head: str = "") -> str:
    menu = "<nav><ul><li><a href='/'>Home</a></li><li><a href='/login'>Log in</a></li></ul></nav>"
    body = "".join(f"<p>{i}. {text}</p>" for i in range(4))
    return f"<html><head><title>t</title>{head}</head><body>{menu}<article>{body}</article></body></html>"


TEXT = "\n".join(f"{i}. {SENTENCE}" for i in range(4))


def archive(*responses: tuple[str, bytes, str], status: str = "200 OK", more: Any = ()) -> bytes:
    """A .warc.gz as crawlers write it: a member a record."""
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=True)
    writer.write_record(writer.create_warcinfo_record("a.warc.gz", {"software": "test"}))
    for url, body, kind in responses:
        headers = StatusAndHeaders(status, [("Content-Type", kind), *more], protocol="HTTP/1.1")
        writer.write_record(writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=headers))
    return out.getvalue()


def test_text_without_menus() -> None:
    found = read_page(page(head='<link rel="canonical" href="https://example.org/walk">').encode(), "a.html", 1)
    assert found == Document(TEXT, "a.html", 1, "https://example.org/walk")
    assert read_page(page().encode(), "a.html", 1, "https://given.kr/") == Document(
        TEXT, "a.html", 1, "https://given.kr/"
    )


@pytest.mark.parametrize(
    ("raw", "content_type", "text"),
    [
        ("한글".encode(), "text/html", "한글"),
        ("한글".encode("cp949"), "text/html; charset=EUC-KR", "한글"),
        ("똠방각하".encode("cp949"), "text/html; charset=ks_c_5601-1987", "똠방각하"),  # 똠 is in cp949 alone
        (b'<meta charset="euc-kr">' + "한글".encode("cp949"), "text/html", '<meta charset="euc-kr">한글'),
        (b"caf\xe9 \x93quoted\x94", "text/html; charset=iso-8859-1", "café “quoted”"),
        (b"\xef\xbb\xbfok", "text/html; charset=iso-8859-1", "ok"),
        ("한글".encode(), "text/html; charset=nonsense", "한글"),
        ("한글".encode() + b"\xff", "text/html; charset=utf-8", "한글\ufffd"),
        (b"plain", "text/html; charset=base64", "plain"),
    ],
)
def test_character_sets(raw: bytes, content_type: str, text: str) -> None:
    assert decode(raw, content_type) == text


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (EMPTY, "is a page without text"),
        (b"", "is a page without text"),
        (bytes(range(256)) * 40, "is a page without text"),
        (b"<html><body>" + b"<p>a" * (ELEMENTS + 1) + b"</body></html>", "it has more than 20,000 elements"),
    ],
)
def test_pages_without_text_are_expected(raw: bytes, reason: str) -> None:
    found = read_page(raw, "a.html", 1)
    assert isinstance(found, Broken) and found.expected
    assert reason in found.reason and found.bytes == len(raw)


def test_html_files_share_units(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.html").write_text(page())
    (tmp_path / "c.html.gz").write_bytes(gzip.compress(page().encode("cp949")))
    (tmp_path / "d.html").write_bytes(b"x" * 3000)
    found = records(kind="html", paths=str(tmp_path / "*"), maximum_record_bytes=2000)
    assert texts(found[:2]) == [TEXT, TEXT]
    assert found[3] == Broken(str(tmp_path / "d.html"), 1, "is larger than maximum_record_bytes (2,000)", 3000, True)
    assert (tmp_path / "c.html.gz").name in found[2].file and isinstance(found[2], Document)


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_warc(name: str, tmp_path: Path) -> None:
    raw = archive(
        ("http://a/1", page().encode("cp949"), "text/html; charset=euc-kr"),
        ("http://a/2", b"\x89PNG", "image/png"),
        ("http://a/3", EMPTY, "text/html"),
        ("http://a/4", b"x" * 2_000_000, "text/html"),
        ("http://a/5", page().encode(), "application/xhtml+xml"),
    )
    (tmp_path / name).write_bytes(raw if name.endswith("gz") else gzip.decompress(raw))
    first, empty, large, last = records(kind="warc", paths=str(tmp_path / name))
    assert first == Document(TEXT, str(tmp_path / name), 2, "http://a/1")
    assert isinstance(empty, Broken) and (empty.record, empty.expected) == (4, True)
    assert isinstance(large, Broken) and "maximum_record_bytes (1,000,000)" in large.reason and large.expected
    assert last == Document(TEXT, str(tmp_path / name), 6, "http://a/5")


def test_what_servers_send(tmp_path: Path) -> None:
    packed = [("Content-Encoding", "gzip")]
    bomb = archive(("http://a/2", gzip.compress(bytes(3_000_000)), "text/html"), more=packed)
    raw = archive(("http://a/1", gzip.compress(page().encode()), "text/html"), more=packed) + bomb
    raw += archive(("http://a/3", page().encode(), "text/html"), status="404 Not Found")
    (tmp_path / "a.warc.gz").write_bytes(raw)
    page_, large = records(kind="warc", paths=str(tmp_path / "a.warc.gz"))
    assert page_ == Document(TEXT, str(tmp_path / "a.warc.gz"), 2, "http://a/1")
    assert isinstance(large, Broken) and large.bytes == 3_000_000


def test_wet(tmp_path: Path) -> None:
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=True)
    for i, text in enumerate([SENTENCE.encode(), b"\xff\xfe"]):
        record = writer.create_warc_record(
            f"http://a/{i}", "conversion", io.BytesIO(text), warc_content_type="text/plain"
        )
        writer.write_record(record)
    (tmp_path / "a.warc.wet.gz").write_bytes(out.getvalue())
    text, broken = records(kind="warc", paths=str(tmp_path / "a.warc.wet.gz"))
    assert text == Document(SENTENCE, str(tmp_path / "a.warc.wet.gz"), 1, "http://a/0")
    assert broken == Broken(str(tmp_path / "a.warc.wet.gz"), 2, "is not UTF-8 at byte 0 of the document", 2)


PLAIN = gzip.decompress(archive(*[(f"http://a/{i}", page().encode(), "text/html") for i in range(3)]))
SECOND = PLAIN.index(b"WARC/", PLAIN.index(b"http://a/0"))
"""Where the second page begins; before it stand the record about the file and the first page."""


@pytest.mark.parametrize(
    ("raw", "reasons"),
    [
        (PLAIN[:-600], ["is cut short"]),
        (PLAIN[:SECOND] + b"garbage\n\x00more\n" + PLAIN[SECOND:], [r"is not a WARC record: b'garbage\n'"]),
        (PLAIN[:SECOND] + b"WARC/1.0\r\nno length\r\n\r\n" + PLAIN[SECOND:], ["is not a WARC record: b'WARC/1.0"]),
        (bytes(range(256)) * 9, ["is not a WARC record"]),
    ],
)
def test_damaged_archives(raw: bytes, reasons: list[str], tmp_path: Path) -> None:
    """The damage is a broken record, and reading goes on at the next record."""
    (tmp_path / "a.warc").write_bytes(raw)
    found = records(kind="warc", paths=str(tmp_path / "a.warc"))
    broken = [record for record in found if isinstance(record, Broken)]
    assert len(broken) == 1 and broken[0].reason.startswith(reasons[0]) and not broken[0].expected
    assert len(found) - 1 == {PLAIN[:-600]: 2, bytes(range(256)) * 9: 0}.get(raw, 3)


def test_damaged_compression(tmp_path: Path) -> None:
    raw = archive(("http://a/1", page().encode(), "text/html"))
    (tmp_path / "a.warc.gz").write_bytes(raw[:-30])
    with pytest.raises(ConfigError, match="its compressed data is damaged"):
        records(kind="warc", paths=str(tmp_path / "a.warc.gz"), on_error="count")


def test_pages_without_text_stop_nothing(tmp_path: Path, tokenizer: Path) -> None:
    pages = [(f"http://a/{i}", page(f"{i} {SENTENCE}").encode(), "text/html") for i in range(3)]
    (tmp_path / "a.warc.gz").write_bytes(archive(*pages, ("http://a/9", EMPTY, "text/html")))
    source = {"kind": "warc", "paths": str(tmp_path / "a.warc.gz"), "weight": 1}
    assert recipe(tmp_path, tokenizer, {"web": source}).sources["web"].on_error == "refuse"
    manifest = load_manifest(prepare(recipe(tmp_path / "out", tokenizer, {"web": source}, validation=0)))
    read = manifest.sources["web"].stages[0]
    assert (read.documents_in, read.documents_out, read.bytes_in - read.bytes_out) == (4, 3, len(EMPTY))
    assert len(documents(manifest, "web", "train")) == 3
