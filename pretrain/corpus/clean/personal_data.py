"""Personal data: a mark in its place, counted by kind.

Patterns find what has the form, checks take out what only looks like it. The bounds of a pattern are ASCII's, not those
of words, so that a Korean particle may follow; what may be long is bounded, so that the time is linear.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple

from pretrain.config.clean import PersonalData
from pretrain.corpus.clean import Rule, Tallies

EMAIL = re.compile(
    r"(?<![A-Za-z0-9_.+%@-])(?P<local>[A-Za-z0-9_][A-Za-z0-9_.+%-]{0,63}+)"
    r"@(?P<domain>(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}(?P<top>[A-Za-z]{2,18}))"
    r"(?![A-Za-z0-9_@(-]|\.[A-Za-z0-9])"
)
NOT_TOPS = """
example invalid localhost test local localdomain internal
automount device mount path scope service slice socket swap target timer
bmp cfg conf css gif gz htm html ico jpeg jpg js json log mjs mp3 mp4 pdf php png svg tar tgz ts txt webp xml yaml yml
"""
NOT_TOP = frozenset(NOT_TOPS.split())
"""Reserved (RFC 2606, RFC 6762), units of systemd (getty@tty1.service), files (icon@2x.png)."""
RESERVED = re.compile(r"(?:^|\.)example\.(?:com|net|org)$", re.IGNORECASE)
MESSAGE = re.compile(r"[0-9]{8,14}\.")

IPV4 = re.compile(r"[0-9](?<![A-Za-z0-9_.-].)[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![A-Za-z0-9_]|[.-][A-Za-z0-9])")
IPV6 = re.compile(r"[23](?<![A-Za-z0-9_:.].)[0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![A-Za-z0-9_:])")
"""2000::/3, all that is in use: dead::beef may be C++."""
NUMBERED = re.compile(r"(?:version|release|section|chapter|kernel|linux|\bv|\bver|\brev|§)[ .:=]*$", re.IGNORECASE)
"""What stands before numbers like 1.2.3.4 that are not addresses."""

CARD = re.compile(
    r"[2-6](?<![A-Za-z0-9_.+-].)"
    r"(?:[0-9]{12,18}|[0-9]{3}([ -])(?:[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}|[0-9]{6}\1[0-9]{4,5}))"
    r"(?![A-Za-z0-9_]|[ .-][0-9])"
)
ISSUERS = re.compile(
    r"4(?:.{12}|.{15}|.{18})|5[1-5].{14}|2(?:2[2-9]|[3-6].|7[0-2]).{13}|3[47].{13}|3(?:0[0-5]|[68].).{11}"
    r"|35.{14}|6(?:011|4[4-9].|5..).{12}|62.{14,17}"
)
"""Visa, Mastercard, American Express, Diners Club, JCB, Discover, UnionPay: first digits and lengths."""

PHONE = re.compile(
    r"""(?<![A-Za-z0-9_.+/#$%=-])(?:
        \+[1-9][0-9]{0,2}(?:[ .-]?\(0?[0-9]{1,4}\))?[ .-]?[0-9]{1,14}(?:[ .-][0-9]{1,8}){0,5}  # international
      | (?:1[ .-])?(?:\([2-9][0-9]{2}\)[ ]?|[2-9][0-9]{2}(?P<mark>[.-]))  # North America
        [2-9][0-9]{2}(?(mark)(?P=mark)|[ .-])[0-9]{4}
      | (?:\(?0[1-9][0-9]{0,2}\)[ ]?|0[1-9][0-9]{0,2}-)[0-9]{3,4}-[0-9]{4} | 010[0-9]{8}  # Korea, Japan
    )(?![A-Za-z0-9_]|[.,-][0-9])""",
    re.VERBOSE,
)
NUMBER = re.compile(r"(?!(?:19|20)[0-9]{2}[./-])[(+0-9][0-9 ()./-]{5,18}[0-9](?![A-Za-z0-9_]|[.,-][0-9])")
"""Any other number; not a year with something behind it."""
LABEL = re.compile(
    r"(?:(?<![a-z])(?:tel|telephone|telefon|phone|fax|mobile)(?: number| no)?|전화|휴대폰|연락처|팩스|번호|電話)"
    r"[ .:]{1,3}$",
    re.IGNORECASE,
)
"""What stands before it."""


class Finder(NamedTuple):
    """A form of personal data. `sign` stands in every text that holds it."""

    kind: str
    sign: str
    pattern: re.Pattern[str]
    check: Callable[[re.Match[str]], bool]


def personal_data(config: PersonalData, tallies: Tallies) -> Rule:
    """Replaces personal data by marks; drops nothing."""
    finders = [finder for finder in FINDERS if finder.kind in config.kinds]
    counts = tallies["personal_data"]

    def rule(text: str) -> str:
        for kind, sign, pattern, check in finders:
            if sign in text:
                found = [match for match in pattern.finditer(text) if check(match)]
                counts[kind] += len(found)
                text = _marked(text, found, f"<{kind.upper()}>") if found else text
        return text

    return rule


def _marked(text: str, found: list[re.Match[str]], mark: str) -> str:
    done, parts = 0, list[str]()
    for match in found:
        parts += text[done : match.start()], mark
        done = match.end()
    return "".join([*parts, text[done:]])


def _email(match: re.Match[str]) -> bool:
    if match["top"].lower() in NOT_TOP or RESERVED.search(match["domain"]):
        return False
    # git@host:path is an address of ssh, 20090625160706.GA9467@host the id of a message
    return match["local"] != "git" and not MESSAGE.match(match["local"])


def _ipv4(match: re.Match[str]) -> bool:
    """Public, and not the number of a version or section: those are small, as four addresses in a thousand are too."""
    octets = set(map(int, match[0].split(".")))
    return max(octets) >= 64 and len(octets) > 1 and _public(match) and not NUMBERED.search(_before(match))


def _public(match: re.Match[str]) -> bool:
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def _before(match: re.Match[str]) -> str:
    return match.string[max(0, match.start() - 20) : match.start()]


def _card(match: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", match[0])
    return ISSUERS.fullmatch(digits) is not None and _luhn(digits)


def _luhn(digits: str) -> bool:
    """The check digit is right (ISO/IEC 7812, annex B)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


def _phone(match: re.Match[str]) -> bool:
    """As many digits as E.164 allows."""
    return 7 <= sum(map(str.isdigit, match[0])) <= 15


def _labelled(match: re.Match[str]) -> bool:
    return _phone(match) and LABEL.search(_before(match)) is not None


FINDERS = (
    Finder("email", "@", EMAIL, _email),
    Finder("ip", ".", IPV4, _ipv4),
    Finder("ip", ":", IPV6, _public),
    Finder("card", "", CARD, _card),
    Finder("phone", "", PHONE, _phone),
    Finder("phone", "", NUMBER, _labelled),
)
"""In the order in which they look: digits of a card are not those of a telephone."""
