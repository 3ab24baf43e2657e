"""Stand-ins for what the pages attach on Kaggle: small random models with real tokenizers, made-up rows."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["MAKERS", "attach"]

_COLUMNS = ["winner_model_a", "winner_model_b", "winner_tie"]
_WORDS = ["red", "green", "blue", "one", "two", "three", "cat", "dog", "bird", "sings", "runs", "sleeps"]


def attach(text: str, inputs: Path) -> None:
    """Make what ``text`` names, under Kaggle's names, in ``inputs``; and a wheelhouse in the folder beside it."""
    inputs.mkdir(exist_ok=True)
    wheels = inputs.parent / "working" / "wheelhouse"
    wheels.mkdir(parents=True)
    (wheels / "kaggle_notebook_utils-0.1.0-py3-none-any.whl").write_bytes(b"PK\5\6" + bytes(18))  # an empty zip file
    for name, make in MAKERS.items():
        if name in text:
            (inputs / name).mkdir(parents=True)
            make(inputs / name)


def _chat_model(folder: Path) -> None:
    from tiny_models import write_tiny_llama

    write_tiny_llama(folder)


def _judge(family: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from tiny_classifiers import write_tiny_classifier

        write_tiny_classifier(folder, family)

    return make


def _encoder(folder: Path) -> None:
    from kfold_case import write_case_model

    write_case_model(folder)


def _competition(folder: Path) -> None:
    """24 labelled pairs, every prompt twice; the longer answer wins. Four to predict, one of which is cut off."""
    random = np.random.default_rng(0)
    text = lambda most: json.dumps([" ".join(random.choice(_WORDS, random.integers(1, most)))])  # noqa: E731
    labelled = []
    for i in range(24):
        a, b = text(20), text(20)
        label = 2 if abs(len(a) - len(b)) < 15 else int(len(b) > len(a))
        labelled.append([1000 + i, json.dumps([f"question {i // 2}"]), a, b, *(int(k == label) for k in range(3))])
    unseen = [[i, text(5), text(20), text(20)] for i in range(3)] + [[3, '["cut off', '["a"]', '["b"]']]
    _write(folder / "train.csv", ["id", "prompt", "response_a", "response_b", *_COLUMNS], labelled)
    _write(folder / "test.csv", ["id", "prompt", "response_a", "response_b"], unseen)
    _write(folder / "sample_submission.csv", ["id", *_COLUMNS], [[i, 0.333, 0.333, 0.333] for i in range(4)])


def _write(path: Path, header: list[str], rows: list[list]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def _instructions(folder: Path) -> None:
    """Twelve sums in Japanese, one answer in English, one that names its maker, and a line that is cut off."""
    numbers = "一二三四"
    rows = [{"instruction": f"{a}に{b}を足すといくつになりますか？", "output": f"答えは{i + j + 2}です。"}
            for i, a in enumerate(numbers) for j, b in enumerate(numbers[:3])]  # fmt: skip
    rows.append({"instruction": "東京は？", "output": "Tokyo is the capital of Japan, and many people live there."})
    rows.append({"instruction": "あなたは誰ですか？", "output": "私はChatGPTです。何でも聞いてください。"})
    lines = [json.dumps(row, ensure_ascii=False) for row in rows] + ['{"instruction": "cut']
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _tasks(folder: Path) -> None:
    tasks = [("空の色は何ですか？", None), ("二に七を足すと？", "答えは9です。"), ("猫は何と鳴きますか？", None)]
    examples = [
        ("空の色は？", "青です。"),
        ("犬は何と鳴きますか？", "ワンです。"),
        ("三に七を足すと？", "答えは10です。"),
    ]
    for name, rows in (
        ("tasks", [{"task_id": i, "input": q, **({"output": a} if a else {})} for i, (q, a) in enumerate(tasks)]),
        ("examples", [{"input": q, "output": a} for q, a in examples]),
    ):
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


MAKERS: dict[str, Callable[[Path], None]] = {
    "gemma-2/transformers/gemma-2-2b-it/2": _chat_model,
    "lmsys-chatbot-arena": _competition,
    "gemma-2-judge": _judge("gemma2"),
    "llama-3-judge": _judge("llama"),
    "deberta-v3-base": _encoder,
    "japanese-instructions": _instructions,
    "elyza-tasks": _tasks,
}
