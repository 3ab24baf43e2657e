"""The command line of scoring: answer pairs of a file or a folder to probabilities, here or on a Ray cluster."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["main"]

_EXAMPLES = """examples:
  python -m kaggle_utils score test.parquet scores --model gemma-2-9b --max-length 2048 --cluster none
  python -m kaggle_utils score s3://bucket/pairs s3://bucket/scores --model /models/gemma --max-length 2048
  python -m kaggle_utils score pairs scores --model /models/gemma --max-length 2048 --cluster 10.0.0.1:6379

The model's folder and this package are needed on every machine, at the same place, and so are INPUT and OUTPUT unless
they are addresses. The same command again goes on where the last one ended. The output is a folder of parquet files:
kaggle_utils.inference.cluster.read_dataset gives them in order.

exit status: 0 all rows are there, 1 some blocks are missing (the same command again computes them), 2 bad input
"""
_CSV = (".csv", ".csv.gz")
_CONVERTED = "_input.parquet"


def main(argv: Sequence[str] | None = None) -> int:
    """Score and print what was done; returns 0 when all rows are there, 1 when some are missing, 2 for bad input."""
    args = _parser().parse_args(argv)
    try:
        return _score(args)
    except (OSError, ValueError, TypeError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _score(args: argparse.Namespace) -> int:
    from kaggle_utils._optional import require
    from kaggle_utils.cluster import connected
    from kaggle_utils.inference.cluster import DatasetError, score_dataset

    require("pyarrow", extra="cluster")
    cluster = None if args.cluster == "none" else args.cluster
    if cluster is not None:
        require("ray", extra="cluster")
    _check(args)
    options: dict[str, Any] = {name: getattr(args, name) for name in ("block_rows", "num_cpus", "num_gpus", "workers")}
    options |= {"deadline": args.deadline, "keep": args.keep, "progress": not args.quiet}
    options |= {"cluster": cluster, "actors": _actors(args.actors)}
    with connected(cluster) if cluster is not None else contextlib.nullcontext() as ray:
        judge = _judge(args, _rooms(ray, args.num_gpus) if ray is not None else None)
        try:
            result = score_dataset(
                _parquet(args), args.output, judge, columns=_named(args.column), text=args.text, swap=args.swap,
                prior=_numbers(args.prior), **options,
            )  # fmt: skip
        except DatasetError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(result.to_text())
    return 0 if result.finished else 1


def _check(args: argparse.Namespace) -> None:
    """Say at once which files are not there; what lies at an address is found out later."""
    problems = []
    if not (Path(args.model) / "config.json").is_file():
        problems.append(f"--model {args.model}: there is no config.json; expected the folder of a classifier")
    if "://" not in args.input and not Path(args.input).exists():
        problems.append(f"INPUT {args.input}: there is no such file or folder")
    if problems:
        raise FileNotFoundError("\n".join(problems))


def _judge(args: argparse.Namespace, rooms: Any) -> Any:
    from kaggle_utils._optional import require
    from kaggle_utils.data.tokenization import PairTokenizer
    from kaggle_utils.inference.judges import folder_judge

    config = Path(args.model) / "config.json"
    labels = args.labels or len(json.loads(config.read_text(encoding="utf-8")).get("id2label") or ()) or 2
    transformers = require("transformers", extra="llm")
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.tokenizer or args.model)
    style = json.loads(args.style) if args.style.lstrip().startswith("{") else args.style
    reader = PairTokenizer(
        tokenizer, style=style, max_length=args.max_length, truncation=args.truncation, bos=not args.no_bos,
        eos=not args.no_eos, marker=args.marker,
    )  # fmt: skip
    return folder_judge(
        args.name, args.model, reader, adapter=args.adapter, num_labels=labels, quantization=args.quantization,
        dtype=args.dtype, merge=args.merge, max_tokens=args.max_tokens,
        compile={"auto": "auto", "yes": True, "no": False}[args.compile], devices=rooms,
        temperature=args.temperature, swapped=args.swapped,
    )  # fmt: skip


def _rooms(ray: Any, num_gpus: float | None) -> Any:
    """What an actor's device has: a driver without a GPU would choose the precision of a CPU."""
    from kaggle_utils.models.rooms import device_rooms

    if num_gpus is None:
        num_gpus = 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0
    if not num_gpus:
        return ["cpu"]
    return ray.get(ray.remote(num_cpus=0, num_gpus=num_gpus)(device_rooms).remote())


def _parquet(args: argparse.Namespace) -> str:
    """The input, as parquet: a CSV is written into the output folder once more."""
    if not args.input.endswith(_CSV):
        return args.input
    from kaggle_utils._optional import require
    from kaggle_utils.data.columns import read_columns, read_ids
    from kaggle_utils.inference.cluster.storage import Folder

    arrow, parquet = require("pyarrow", extra="cluster"), require("pyarrow.parquet", extra="cluster")
    table = read_columns(args.input)
    if table.broken:
        lines = [f"  - row {row}: {why}" for row, why in list(table.broken.items())[:20]]
        raise ValueError(f"{args.input}: {len(table.broken)} rows cannot be read:\n" + "\n".join(lines))
    cells = dict(table.cells)
    if "id" in cells:
        ids = read_ids(cells["id"], source=args.input, from_text=table.only_text)
        large = any(isinstance(value, int) and abs(value) >= 1 << 63 for value in ids)
        cells["id"] = [str(value) for value in ids] if large else ids
    sink = arrow.BufferOutputStream()
    parquet.write_table(arrow.table(cells), sink, row_group_size=args.block_rows)
    target = Folder(args.output)
    target.write(_CONVERTED, sink.getvalue())
    return target.under(_CONVERTED).address


def _actors(text: str | None) -> int | tuple[int, int | None] | None:
    if text is None:
        return None
    least, colon, most = text.partition(":")
    try:
        return (int(least or 1), int(most) if most else None) if colon else int(least)
    except ValueError:
        raise ValueError(f"--actors {text}: expected a number such as 4, or LEAST:MOST such as 2:16 or 2:") from None


def _named(pairs: Sequence[str] | None) -> dict[str, str] | None:
    if wrong := [pair for pair in pairs or () if "=" not in pair]:
        raise ValueError(f"--column {' '.join(wrong)}: expected NAME=OTHER, such as prompt=question")
    return dict(pair.split("=", 1) for pair in pairs) if pairs else None


def _numbers(text: str | None) -> list[float] | None:
    try:
        return [float(part) for part in text.split(",")] if text else None
    except ValueError:
        raise ValueError(f"--prior {text}: expected numbers with commas between them, such as 0.35,0.35,0.3") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kaggle_utils score",
        description="Score answer pairs (columns id, prompt, response_a, response_b) with a sequence classifier: "
        "parquet in, parquet out, on this machine or on a Ray cluster.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input", metavar="INPUT", help="a parquet file, a folder of them, an address such as s3://bucket/rows, or .csv")
    add("output", metavar="OUTPUT", help="the folder for the results, or an address")
    _add_model(parser.add_argument_group("the model"))
    _add_rows(parser.add_argument_group("how rows are read"))
    _add_run(parser.add_argument_group("where and how it runs"))
    return parser


def _add_model(group: Any) -> None:
    add = group.add_argument
    add("--model", required=True, metavar="FOLDER", help="the classifier, at the same place on every machine")
    add("--adapter", metavar="PATH", help="a peft folder or a LoRA state dict")
    add("--name", default="judge", help="its name in reports (default: %(default)s)")
    add("--labels", type=int, choices=(2, 3), help="classes (default: those of config.json)")
    add("--quantization", default="none", help="none, int8, nf4, fp4 or fp8 (default: %(default)s)")
    add("--dtype", default="auto", help="float16, bfloat16, float32 or auto: as an actor's device has it")
    add("--merge", default="auto", help="merged, unmerged or auto")
    add("--max-tokens", type=int, default=8192, metavar="N", help="largest pack (default: %(default)s)")
    add("--compile", default="auto", choices=("auto", "yes", "no"), help="compile the layers (default: measure)")
    add("--temperature", type=float, default=1.0, help="divides the logits (default: %(default)s)")


def _add_rows(group: Any) -> None:
    add = group.add_argument
    add("--max-length", type=int, required=True, metavar="N", help="tokens of the longest row")
    add("--tokenizer", metavar="FOLDER", help="its tokenizer, where it is not beside the model")
    add("--style", default="gemma", help="a prompt style by name, or a JSON object of it (default: %(default)s)")
    add("--truncation", default="right", help="how rows that are too long are cut (default: %(default)s)")
    add("--marker", default="......", help="what stands where text was taken out of the middle")
    add("--no-bos", action="store_true", help="no token at the start")
    add("--no-eos", action="store_true", help="no token at the end")
    add("--swap", default="none", choices=("none", "all"), help="score both orders of the answers too")
    add("--swapped", action="store_true", help="the model reads B first")
    add("--text", default="auto", choices=("auto", "json", "plain"), help="how the cells are written")
    add("--column", action="append", metavar="NAME=OTHER", help="prompt=question: another name of a column; repeatable")
    add("--keep", action="append", metavar="COLUMN", help="copy a column of the input (default: id); repeatable")
    add("--prior", metavar="A,B,TIE", help="probabilities of rows that cannot be read (default: none, they are nan)")


def _add_run(group: Any) -> None:
    add = group.add_argument
    add("--cluster", default="auto", metavar="WHERE",
        help="auto (the Ray cluster that runs here, or RAY_ADDRESS), local (one for this run), none (this process, "
        "without Ray) or HOST:PORT (default: %(default)s)")  # fmt: skip
    add("--actors", metavar="N", help="how many at a time: 4, or 2:16 (default: as many as fit, more when nodes come)")
    add("--num-gpus", type=float, metavar="N", help="GPUs of an actor (default: 1 where there are GPUs)")
    add("--num-cpus", type=float, default=1.0, metavar="N", help="cores of an actor (default: %(default)g)")
    add("--block-rows", type=int, default=2000, metavar="N", help="rows that are one unit of work and of resuming")
    add("--workers", default="processes", choices=("processes", "threads"), help="what an actor scores in")
    add("--deadline", type=float, metavar="SECONDS", help="stop then; the same command goes on")
    add("--quiet", action="store_true", help="no bar")
