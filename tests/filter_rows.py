"""A small set of Japanese rows, and how to run the filter on it."""

from __future__ import annotations

import json
from pathlib import Path

SUBJECTS = ("図書館", "鉄道", "料理", "天気", "音楽", "歴史", "算数", "写真", "将棋", "登山", "茶道", "園芸")
PLACES = ("北海道", "青森県", "東京都", "大阪府", "沖縄県", "長野県", "京都府", "福岡県", "香川県", "新潟県")
ENDINGS = ("とても役に立ちます。", "多くの人に親しまれています。", "少し時間がかかります。", "毎年行われています。")


def japanese_rows(count: int) -> list[dict]:
    """Rows that nothing is wrong with, all different."""
    rows = []
    for i in range(count):
        subject, place, ending = SUBJECTS[i % 12], PLACES[i // 12 % 10], ENDINGS[i // 120 % 4]
        answer = f"{place}の{subject}について説明します。{i}番目の例として、{subject}は{place}で{ending}"
        rows.append({"id": i, "question": f"{place}の{subject}とは何ですか？({i})", "answer": answer})
    return rows


def write_rows(path: Path, rows) -> Path:
    """One JSON line a row; a string or bytes is written as it is."""
    with path.open("wb") as file:
        for row in rows:
            data = row if isinstance(row, bytes) else row.encode() if isinstance(row, str) else None
            file.write((data if data is not None else json.dumps(row, ensure_ascii=False).encode()) + b"\n")
    return path


def read_rows(path: Path) -> list[dict]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
