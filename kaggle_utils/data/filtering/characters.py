"""What every Unicode character is to the filter: one table of flags, so that a whole batch is classified in one step.

No list of Chinese characters is kept: an ideograph is foreign when the encoding (cp932) cannot write it, unless JIS X
0213 can and neither GB 2312 nor the frequent half of Big5 does (鷗, 剝, 𠮟). It knows no texts and no settings.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from kaggle_utils._optional import require

__all__ = [
    "BROKEN", "CHINESE", "CHINESE_TOO", "CONTROL", "DIGIT", "END", "FOREIGN", "GARBLED", "HAN", "KANA", "LATIN",
    "LETTER", "ODD", "UNWANTED", "character_table", "script_of",
]  # fmt: skip

KANA, HAN, LATIN, LETTER, DIGIT = 1, 2, 4, 8, 16
END = 32
"""Ends of sentences and of lines."""
CONTROL = 64
"""Characters without a glyph that carry nothing: C0, zero-width, byte order mark, directions."""
BROKEN = 128
"""What a text without damage never holds: surrogates, U+FFFD, C1, private use, noncharacters."""
FOREIGN = 256
"""Ideographs and letters that the encoding cannot write."""
UNWANTED = 512
"""Letters of scripts that are not welcome."""
GARBLED = 1024
"""Characters in which text decoded with the wrong encoding abounds."""
CHINESE = 2048
"""Function words of Chinese that Japanese compounds seldom hold."""
CHINESE_TOO = 4096
"""Function words of Chinese that Japanese compounds hold as well."""

ODD = CONTROL | BROKEN | FOREIGN | UNWANTED | GARBLED
"""Flags that few characters of a good text have."""

_FUNCTION_WORDS = "是我了也很就都他她來这這那把從从什請请們们吗呢吧没沒妳你还還跟给給卻却啊哪咱甚让讓"
_WEAK_FUNCTION_WORDS = "的在不有和可以会會要去到得對与與為为个個被于所而且但因如果已經经么麼怎您呀"
# Faces: one letter of a foreign script is an eye or a hand here. Ideographs: printed forms (石鹼) that Big5 shares.
_ALLOWED = "ಠ益و٩۶ᐛᴗʕʔᴥωДдﻌᵕᴖ⊃ฅʚɞღლ𠮷𠮟塡剝頰鷗鹼攪噓摑瘦簞焰顚麴屢囊醬蟬軀繡萊蠟俠俱嚙吞搔繫禱"
_GARBLED = "縺繧繝譁蜿荳莉ÃÂâãäåæçèéï‚ƒ„†锟斤拷烫屯"


@lru_cache(maxsize=8)
def character_table(encoding: str | None = "cp932", scripts: Sequence[str] = (), allowed: str = "") -> np.ndarray:
    """Flags of every code point, uint16 [0x110000]; takes about 0.2 s and is kept.

    >>> table = character_table("cp932", ("Han", "Hiragana", "Katakana", "Latin", "Greek"))
    >>> [bool(table[ord(c)] & (FOREIGN | UNWANTED)) for c in "这们한яठあ鷗東éΩ★😀𠮷"]
    [True, True, True, True, True, False, False, False, False, False, False, False, False]
    """
    regex = require("regex", extra="filter")
    everything = "".join(map(chr, range(0x34000)))  # planes 0 to 3: all letters there are
    table = np.zeros(sys.maxunicode + 1, dtype=np.uint16)
    table[0xF0000:] = BROKEN  # private use

    def mark(pattern: str, flag: int) -> None:
        for match in regex.finditer(f"(?:{pattern})+", everything):
            table[match.start() : match.end()] |= flag

    mark(r"[\p{Hiragana}\p{Katakana}ー]", KANA)
    mark(r"[\p{Han}]", HAN)
    mark(r"[\p{Latin}]", LATIN)
    mark(r"\p{L}", LETTER)
    mark(r"\p{Nd}", DIGIT)
    mark(r"[。！？\n\r]", END)
    mark(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff\u200e\u200f\u202a-\u202e\u2066-\u2069]", CONTROL)
    mark(r"[\x80-\x84\x86-\x9f\ufffd\p{Cs}\p{Co}\p{Noncharacter_Code_Point}]", BROKEN)
    table[_codes(_GARBLED)] |= GARBLED
    table[_codes(_FUNCTION_WORDS)] |= CHINESE
    table[_codes(_WEAK_FUNCTION_WORDS)] |= CHINESE_TOO
    if scripts:
        welcome = "".join(rf"\p{{{name}}}" for name in scripts)
        mark(rf"(?![{welcome}\p{{Common}}\p{{Inherited}}])[\p{{L}}\p{{M}}]", UNWANTED)
    if encoding is not None:
        mark(r"(?![\p{Latin}\p{Greek}\p{Common}])[\p{L}]", FOREIGN)
        table[_codes(_writable(encoding, everything))] &= ~np.uint16(FOREIGN)
    table[_codes(_ALLOWED + allowed)] &= ~np.uint16(FOREIGN)
    table[_codes(allowed)] &= ~np.uint16(UNWANTED | BROKEN | CONTROL)
    table.setflags(write=False)
    return table


def script_of(character: str) -> str:
    """The first word of a character's Unicode name, which is its script for letters.

    >>> script_of("한"), script_of("я"), script_of("这")
    ('Hangul', 'Cyrillic', 'Cjk')
    """
    return unicodedata.name(character, "unnamed").split()[0].capitalize()


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _writable(encoding: str, everything: str) -> str:
    """All characters of ``encoding``, and for a Japanese one those of JIS X 0213 that Chinese does not use."""
    known = everything.encode(encoding, "ignore").decode(encoding, "ignore")
    if encoding.lower().replace("-", "_") not in ("cp932", "shift_jis", "sjis", "ms932", "euc_jp", "windows_31j"):
        return known
    wider = set(everything.encode("euc_jis_2004", "ignore").decode("euc_jis_2004", "ignore"))
    chinese = set(everything.encode("gb2312", "ignore").decode("gb2312", "ignore"))
    big5 = everything.encode("big5", "ignore")
    frequent = b"".join(big5[i : i + 2] for i in _pairs(big5) if 0xA4 <= big5[i] <= 0xC6)
    return known + "".join(wider - chinese - set(frequent.decode("big5", "ignore")))


def _pairs(data: bytes) -> list[int]:
    """Where two-byte characters begin."""
    found, i = [], 0
    while i < len(data):
        if data[i] >= 0x80:
            found.append(i)
        i += 2 if data[i] >= 0x80 else 1
    return found
