"""The bytes that each token adds to a reply.

It promises that the bytes of a reply's tokens, joined, are the UTF-8 of the decoded reply, wherever ``exact`` says so:
true of byte-level BPE (GPT-2, Llama 3, Qwen) and of SentencePiece with byte pieces (Gemma, Llama 2, Mistral), which is
checked on samples rather than believed. It does not know what the bytes are looked through for.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["TokenBytes", "token_bytes"]

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SAMPLES = (
    "質問: 東京都の人口は?\n### 回答\n約1,400万人です。",
    "The quick brown fox's  naïve   jump — 100% done!\n\n\tfin",
    "𠮷野家 🍜👩‍👩‍👧 ①ｶﾞ ｢髙｣ ～",
)


@dataclass(frozen=True)
class TokenBytes:
    """What each id of a vocabulary adds."""

    pieces: tuple[bytes, ...]
    """Bytes by id; b"" for control tokens, which decoding leaves out."""
    exact: bool
    """Whether joined pieces are the decoded text; else they are a guess, and text has to be decoded to be sure."""

    def text(self, ids: Any) -> str:
        """Decode ``ids`` by joining their bytes; what is no UTF-8 becomes U+FFFD."""
        return b"".join(self.pieces[i] if i < len(self.pieces) else b"" for i in ids).decode("utf-8", "replace")


def token_bytes(tokenizer: Any) -> TokenBytes:
    """Read a tokenizer's vocabulary, once; about half a second for 256,000 tokens."""
    count = max(len(tokenizer), getattr(tokenizer, "vocab_size", 0) or 0)
    tokens = tokenizer.convert_ids_to_tokens(list(range(count)))
    added = {int(i): t for i, t in getattr(tokenizer, "added_tokens_decoder", {}).items()}
    control = set(tokenizer.all_special_ids) | {i for i, token in added.items() if token.special}
    to_bytes = _reader(tokenizer)
    pieces = []
    for number, token in enumerate(tokens):
        if token is None or number in control:
            pieces.append(b"")
        elif number in added:
            pieces.append(str(token).encode())
        else:
            pieces.append(to_bytes(number, token))
    found = TokenBytes(tuple(pieces), exact=True)
    return found if _agrees(tokenizer, found) else TokenBytes(found.pieces, exact=False)


def _reader(tokenizer: Any):
    """How this tokenizer's decoder turns a token into bytes."""
    decoders = _decoders(tokenizer)
    if "ByteLevel" in decoders:
        table = _byte_of_character()
        return lambda _, token: bytes(table[c] for c in token) if all(c in table for c in token) else token.encode()
    if {"ByteFallback", "Metaspace", "Replace"} & decoders:

        def sentencepiece(_, token):
            match = _BYTE_PIECE.fullmatch(token)
            return bytes([int(match[1], 16)]) if match else token.replace("\u2581", " ").encode()

        return sentencepiece
    return lambda number, _: _decode(tokenizer, [number]).encode()


def _decoders(tokenizer: Any) -> set[str]:
    """Names of the steps of a fast tokenizer's decoder."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    if decoder is None:
        return set()
    state = json.loads(decoder.__getstate__())
    return {state.get("type", "")} | {step.get("type", "") for step in state.get("decoders", ())}


def _byte_of_character() -> dict[str, int]:
    """GPT-2's table: printable bytes stand for themselves, the others for characters from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(b): b for b in plain} | {chr(0x100 + i): b for i, b in enumerate(others)}


def _agrees(tokenizer: Any, found: TokenBytes) -> bool:
    """Whether joining and decoding agree on samples, and on the vocabulary's first, middle and last tokens."""
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in _SAMPLES]
    step = max(1, len(found.pieces) // 200)
    plain = [i for i in range(0, len(found.pieces), step) if _is_text(found.pieces[i])]
    rows += [plain[i : i + 20] for i in range(0, len(plain), 20)]
    # A leading space may be dropped at the front of a text; all else has to be the same.
    return all(found.text(row).lstrip(" ") == _decode(tokenizer, row).lstrip(" ") for row in rows)


def _is_text(piece: bytes) -> bool:
    try:
        return bool(piece.decode())
    except UnicodeDecodeError:
        return False


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
