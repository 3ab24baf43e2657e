"""Rows that speak of a foreign language: "韓国語でありがとうは「감사합니다」" is Japanese that was asked for.

It knows words only, no questions: a row that names Chinese and slips into it all the same is let through.
"""

from __future__ import annotations

import re

import numpy as np

from .texts import TextBatch

__all__ = ["names_language"]

_LATIN = (
    "英語|英文|英訳|英単語|英会話|和訳|翻訳|対訳|原文|原題|歌詞|外国語|TOEIC|TOEFL|"
    "(?:フランス|ドイツ|スペイン|イタリア|ラテン|ポルトガル|オランダ|ベトナム|インドネシア|マレー|トルコ|タガログ)語|[仏独西伊]語"
)
_NAMES = {
    name: re.compile(words)
    for name, words in {
        "zh": "中国語|中文|漢文|漢詩|北京語|広東語|台湾語|簡体字|繁体字|ピンイン|書き下し",
        "Cjk": "中国語|中文|漢文|漢詩|北京語|広東語|台湾語|簡体字|繁体字|ピンイン",
        "Hangul": "韓国語|朝鮮語|ハングル|コリア語", "ko": "韓国語|朝鮮語|ハングル|コリア語",
        "Cyrillic": "ロシア語|ウクライナ語|キリル|ブルガリア語|セルビア語|モンゴル語",
        "Arabic": "アラビア語|アラビア文字|ペルシ[ャア]語|ウルドゥー", "Hebrew": "ヘブライ", "Thai": "タイ語|タイ文字",
        "Devanagari": "ヒンディー|サンスクリット|梵語|ネパール語", "Latin": _LATIN,
    }.items()
}  # fmt: skip


def names_language(batch: TextBatch, text: int, language: str) -> bool:
    """Whether the row of ``text`` names ``language`` (ISO code, or script) in any of its fields."""
    pattern = _NAMES.get(language) or (_NAMES["Latin"] if language.islower() else None)  # scripts are capitalised
    if pattern is None:
        return False
    low, high = np.searchsorted(batch.rows, [batch.rows[text], batch.rows[text] + 1])
    return any(pattern.search(batch.texts[other]) for other in range(int(low), int(high)))
