"""Personal data: recall and precision on planted cases, kind by kind; what is left of a text."""

from __future__ import annotations

import time

import pytest

from pretrain.config.clean import Cleaning
from pretrain.config.errors import ConfigError
from pretrain.corpus.clean import Tallies, rules
from pretrain.corpus.clean.personal_data import _luhn

KINDS = ("email", "phone", "ip", "card")
TRUE = {
    "email": """
        jane.doe@company.com|j@x.io|JANE_DOE@MAIL.COMPANY.CO.UK|jane+news@company.org|o-neil.99@sub-domain.company.de
        <jane@company.edu>|mailto:jane@company.com|(jane@company.net)|jane@company.kr로 보내|메일jane@naver.com으로
        write to jane@company.com.|a@b.co, c|1234567@qq.com|jane%lab@company.com|user@xn--bcher-kva.de|"jane@company.fr"
        email=jane@company.com&x=1|jane@company.museum|jane@123.com|first.last@iana.org""",
    "phone": """
        +1 415-555-2671|+14155552671|+1 (415) 555-2671|(415) 555-2671|415-555-2671|415.555.2671|1-800-555-0199
        (415)555-2671|+44 20 7946 0958|+44 (0)20 7946 0958|+82-10-1234-5678|+82 2 788 4649|+49 89 926 99-0|+49 30 901820
        +33 1 42 68 53 00|+81 3 5308 6120|+91 98765 43210|+86 138 0013 8000|+55 11 91234-5678|010-1234-5678
        010-1234-5678로 전화|02-788-4649|(02) 788-4649|02)788-4649|031-123-4567|01012345678|090-1234-5678
        전화: 02 788 4649|Tel: 020 7946 0958|Phone 07700 900123|Fax: 030/901820|Tel. 01 42 68 53 00
        telephone number: 5551234|연락처 1588-1234|call 415 555 2671 now|mobile +61 412 345 678|+7 495 123-45-67
        my number is 07700 900123""",
    "ip": """
        8.8.4.100|host 93.184.216.34 answers|203.0.114.7|(151.101.1.69)|http://151.101.1.69/index.html|151.101.1.69:8080
        from 212.58.244.20, port 22|151.101.1.69/32|[151.101.1.69]|주소는 151.101.1.69입니다|ip=151.101.1.69|100.128.0.1
        2001:4860:4860::8888|[2606:2800:220:1:248:1893:25c8:1946]:80|2a00:1450:4001:82b::200e|151.101.1.69.
        server 62.12.41.9|9.9.9.10""",
    "card": """
        4111111111111111|4111 1111 1111 1111|4111-1111-1111-1111|5555555555554444|5105 1051 0510 5100|2223003122003222
        378282246310005|3782 822463 10005|6011111111111117|30569309025904|3530111333300000|6200000000000005
        card: 4012888888881881.|카드4012-8888-8888-1881로|4222222222222|6011 0009 9013 9424""",
}  # fmt: skip
"""Between bars and ends of lines: each holds one. What the rule is known to miss is among them."""
FALSE = {
    "email": """
        icon@2x.png|logo@3x.jpg|@app.route("/x")|@dataclass|lodash@4.17.21|getty@tty1.service|user@localhost
        jane@example.com|you@mail.example.org|git@github.com:owner/name.git|a @ b.com|jane(at)company.com|jane@company
        @jane.doe|foo@bar@baz.com|20090625160706.GA9467@linux.company.com|x@y.1|root@host.local|self@object.method()
        3 @ 5.99|name@host.test""",
    "phone": """
        2024-01-15|15.01.2024|01/15/2024|2024-01-15 12:30:45|1999-2004|0-306-40615-2|978-3-16-148410-0|978-0-306-40615-7
        version 4.15.555.2671|$415,555,2671|415555267|1234567890|3.1415926535|12,345,678|0x4155552671|1.415-555
        550e8400-e29b-41d4-a716-446655440000|48.858370, 2.294481|+0900|+1.5|C++11|1e+10|00 01 02 03 04 05|0100 0101 0110
        555-2671|123-456-7890|100-200-3000|RFC 2616|9780306406157|20240115123045|1,000,000|10-20-30|p. 415-420|+12 34
        hotel 1234|4155552671.5|415-555-2671-9|ISO 8601:2004|$1-800|192.168.100.200""",
    "ip": """
        192.168.0.1|10.0.0.1|172.16.5.4|127.0.0.1|0.0.0.0|255.255.255.0|169.254.1.1|192.0.2.1|198.51.100.7|203.0.113.9
        224.0.0.251|100.64.0.1|1.2.3.4|version 1.2.3.4|version 91.120.3.4|v2.6.32.71|kernel 2.6.32.71|section 4.3.2.1
        name-1.2.65.4.tar.gz|1.3.6.1.4.1.311|300.1.1.1|01.02.2003.4|1.2.3|2024.01.15.1|::1|fe80::1|2001:db8::1
        std::vector|dead::beef|12:34:56|aa:bb:cc:dd:ee:ff|00:11:22:33:44:55:66:77|1::|64-bit|87.87.87.87|34.1.1.3
        99.5.x.y""",
    "card": """
        4111111111111112|1234567890123456|0000000000000000|9780306406157|1700000000000000000|4111-1111-1111-111
        0.4111111111111111|a4111111111111111|4111111111111111f|d41d8cd98f00b204e9800998ecf8427e|20240115123045678
        550e8400-e29b-41d4-a716-446655440000|5555 5555 5555 5555|4111 1111 1111 1112|41111111111111110000
        3141592653589793|2718281828459045|8411111111111111|4111.1111.1111.1111|4111 1111-1111 1111""",
}  # fmt: skip


def cases(text: str) -> list[str]:
    return [case.strip() for line in text.strip().splitlines() for case in line.strip().split("|")]


def marks(text: str, *kinds: str) -> tuple[str, dict[str, int]]:
    tallies = Tallies()
    left = rules(Cleaning.parse({"personal_data": {"kinds": kinds} if kinds else {}}), tallies)["personal_data"](text)
    assert isinstance(left, str)
    return left, {kind: count for kind, count in tallies["personal_data"].items() if count}


@pytest.mark.parametrize(
    ("kind", "found", "planted", "wrong", "negatives"),
    [("email", 20, 20, 0, 21), ("phone", 36, 38, 0, 40), ("ip", 16, 18, 0, 37), ("card", 16, 16, 1, 20)],
)
def test_recall_and_precision_on_planted_cases(kind: str, found: int, planted: int, wrong: int, negatives: int) -> None:
    """The table of docs/corpus.md: recall is found / planted, precision found / (found + wrong)."""
    assert (len(cases(TRUE[kind])), len(cases(FALSE[kind]))) == (planted, negatives)
    missed = [case for case in cases(TRUE[kind]) if marks(case)[1] != {kind: 1}]
    taken = [case for case in cases(FALSE[kind]) if marks(case)[1]]
    assert (planted - len(missed), len(taken)) == (found, wrong), (missed, taken)


def test_marks_stand_where_the_data_stood_and_are_counted() -> None:
    text = "Write to jane@company.com or bob@company.com (02-788-4649); card 4111 1111 1111 1111, host 151.101.1.69."
    left = "Write to <EMAIL> or <EMAIL> (<PHONE>); card <CARD>, host <IP>."
    assert marks(text) == (left, {"email": 2, "phone": 1, "card": 1, "ip": 1})
    only = "Write to <EMAIL> or <EMAIL> (02-788-4649); card 4111 1111 1111 1111, host 151.101.1.69."
    assert marks(text, "email") == (only, {"email": 2})
    assert marks("Nothing personal.") == ("Nothing personal.", {})
    assert marks("") == ("", {})


def test_luhn() -> None:
    """The example of ISO/IEC 7812-1, annex B, and its neighbours."""
    assert [last for last in range(10) if _luhn(f"7992739871{last}")] == [3]


@pytest.mark.parametrize("piece", ["a.", "+1 ", "0", "4111 ", "1.", "a@a.", "2a:", "(0", "0-", "tel: 0 "])
def test_time_is_linear(piece: str) -> None:
    started = time.process_time()
    marks(piece * (100_000 // len(piece)))
    assert time.process_time() - started < 1


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"personal_data\.kinds\.0 = 'mail'"):
        Cleaning.parse({"personal_data": {"kinds": ["mail"]}})
    with pytest.raises(ConfigError, match=r"personal_data\.kinds"):
        Cleaning.parse({"personal_data": {"kinds": []}})
