"""Words and n-grams against splitting by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pretrain.corpus.across.words import UNEVEN, Words

LETTERS = st.text(alphabet="aB3 .,\n'é東“\u3002-", max_size=40)


def by_hand(text: str) -> list[str]:
    """Split at spaces, in lower case, letters and digits alone."""
    words = ("".join(letter for letter in word.lower() if letter.isalnum()) for word in text.split())
    return [word for word in words if word]


@given(st.lists(LETTERS, max_size=6))
def test_equal_words_have_equal_hashes(texts: list[str]) -> None:
    words, split = Words.of(texts), [by_hand(text) for text in texts]
    flat = [word for text in split for word in text]
    assert len(words.hashes) == len(flat)
    assert words.text.tolist() == [index for index, text in enumerate(split) for _ in text]
    assert words.counts.tolist() == [len(text) for text in split]
    assert len({*zip(flat, words.hashes.tolist(), strict=True)}) == len(set(flat)) == len(set(words.hashes.tolist()))
    places = zip(words.text.tolist(), words.first.tolist(), words.stop.tolist(), flat, strict=True)
    for text, first, stop, word in places:
        assert by_hand(texts[text].encode()[first:stop].decode()) == [word]


@given(st.lists(LETTERS, max_size=4))
def test_ngrams_stay_inside_a_text(texts: list[str]) -> None:
    hashes, first = Words.of(texts).ngrams(3)
    split = [by_hand(text) for text in texts]
    wanted = [tuple(text[i : i + 3]) for text in split for i in range(len(text) - 2)]
    assert len(hashes) == len(first) == len(wanted)
    assert len(set(zip(wanted, hashes.tolist(), strict=True))) == len(set(wanted)) == len(set(hashes.tolist()))


def test_whole_texts() -> None:
    hashes = Words.of(["One two.", "one, TWO", "two one", "", "..."]).of_texts()
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[3] == hashes[4] == 0


def test_the_hash_is_the_same_on_every_machine() -> None:
    words = Words.of(["The House's roof", ""])
    assert words.hashes.tolist() == [6299010365432603011, 18227815427611635580, 80723522167207659]
    assert words.ngrams(2)[0].tolist() == [262903680075794373, 3718521558029764614]


def test_order_counts() -> None:
    one, other = Words.of(["a b c"]).ngrams(3)[0], Words.of(["c b a"]).ngrams(3)[0]
    assert not np.array_equal(one, other)


def test_letters_that_change_their_length_keep_all_places() -> None:
    """İ grows by a byte in lower case and the sign of ohm shrinks by one: the sum is as before, the places are not."""
    text = "\u0130 É한 \u2126 Ä"
    words = Words.of([text, "é한 ä"])
    raw = text.encode()
    found = zip(words.first[:4].tolist(), words.stop[:4].tolist(), strict=True)
    assert [raw[first:stop].decode() for first, stop in found] == text.split()
    assert words.hashes[[1, 3]].tolist() == words.hashes[4:].tolist()


def test_every_such_letter_is_known() -> None:
    letters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    assert [c for c in letters if len(c.lower().encode()) != len(c.encode())] == UNEVEN.findall("".join(letters))
