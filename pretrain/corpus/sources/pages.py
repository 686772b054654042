"""From the bytes of a web page to its text (trafilatura)."""

from __future__ import annotations

import codecs
import logging
import re
from typing import Any

from pretrain.corpus.document import Broken, Document, Record

ELEMENTS = 20_000
"""Of a page that is read. trafilatura's time grows with their square: this many took 15 s at worst (docs/corpus.md)."""
META = re.compile(rb"""<meta[^>]+charset\s*=\s*["']?\s*([\w-]+)""", re.IGNORECASE)
HEADER = re.compile(r"""charset\s*=\s*["']?\s*([\w-]+)""", re.IGNORECASE)
AS_BROWSERS = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "euc_kr": "cp949",
    "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932",
}  # fmt: skip
"""Character sets that pages name and the larger ones that are meant (Encoding Standard, WHATWG)."""


def read_page(raw: bytes, file: str, record: int, url: str | None = None, content_type: str = "") -> Record:
    """The text of a page without menus, comments and advertisements; its id is `url`, else its canonical address.

    A page without text, or one that cannot be parsed, is an expected Broken.
    """
    import trafilatura  # noqa: F401  a broken installation is not a strange page

    try:
        text, address = _extract(decode(raw, content_type))
    except Exception as error:  # whatever a strange page does to a parser, it must not stop the crawl's other pages
        return Broken(file, record, f"its text cannot be extracted ({error})", len(raw), expected=True)
    if not text:
        return Broken(file, record, "is a page without text", len(raw), expected=True)
    return Document(text, file, record, url or address)


def decode(raw: bytes, content_type: str = "") -> str:
    """Bytes of a page as text: by its mark, its HTTP header, its <meta>, as UTF-8, or as what it resembles."""
    named = [match[1] for match in [HEADER.search(content_type)] if match]
    named += [match[1].decode() for match in [META.search(raw[:4096])] if match]
    known = ["utf-8-sig"] if raw.startswith(codecs.BOM_UTF8) else []
    known += [_codec(name) for name in named if _codec(name)]
    for name in [*known, "utf-8"]:
        try:
            return raw.decode(name)
        except (UnicodeError, LookupError):
            continue
    if known:
        return raw.decode(known[0], errors="replace")
    from trafilatura.utils import decode_file

    return str(decode_file(raw))


def _codec(name: str) -> str:
    try:
        codec = codecs.lookup(name)
    except LookupError:
        return ""
    return AS_BROWSERS.get(codec.name, codec.name) if codec._is_text_encoding else ""


def _extract(page: str) -> tuple[str, str | None]:
    """Text and canonical address, ("", None) for what is not HTML. Raises ValueError for too many elements."""
    from trafilatura import extract
    from trafilatura.metadata import extract_url
    from trafilatura.utils import load_html

    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # a line for each page without text
    tree: Any = load_html(page)
    if tree is None:
        return "", None
    if sum(1 for _ in tree.iter()) > ELEMENTS:
        raise ValueError(f"it has more than {ELEMENTS:,} elements")
    # As for FineWeb (Penedo et al. 2024, section 3.2). Its own deduplication would depend on the pages before.
    address = extract_url(tree)
    return extract(tree, favor_precision=True, include_comments=False, deduplicate=False) or "", address
