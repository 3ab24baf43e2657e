"""Forbidden strings, however they are tokenised: byte-level BPE, SentencePiece with byte pieces, WordPiece."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from kaggle_utils.chat.generator import GenerationSettings  # noqa: E402
from kaggle_utils.chat.messages import user  # noqa: E402
from kaggle_utils.inference.byte_automaton import ByteAutomaton, Vocabulary  # noqa: E402
from kaggle_utils.inference.continuous import ContinuousGenerator  # noqa: E402
from kaggle_utils.inference.forbidden import ForbiddenStrings  # noqa: E402
from kaggle_utils.inference.token_bytes import token_bytes  # noqa: E402

FORBIDDEN = ("質問", "###", "回答:")
WORDS = [
    "質問",
    "質",
    "問",
    "問:",
    "の質",
    "#",
    "##",
    "###",
    "\u2581##",
    "回",
    "答",
    "回答",
    ":",
    "\u2581yes",
    "人",
    "e",
]


def sentencepiece_like():
    """As Gemma's: a space is U+2581, and characters that the vocabulary lacks are bytes."""
    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 2} | {f"<0x{b:02X}>": 3 + b for b in range(256)}
    vocabulary |= {word: 259 + i for i, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = tokenizers.normalizers.Replace(" ", "\u2581")
    decoders = tokenizers.decoders
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


def wordpiece():
    words = ["[UNK]", "[PAD]", "質", "##問", "a", "##b", "c"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")


def babble(tokenizer, strings, *, length=60, rows=20, favour=3.0):
    """Replies whose every step wants to complete something: the likeliest tokens spell forbidden text."""
    found = token_bytes(tokenizer)
    forbidden = ForbiddenStrings(tokenizer, found, strings)
    generator = torch.Generator().manual_seed(0)
    texts = "".join(strings).encode()
    wanted = torch.tensor([favour * (bool(p) and p.strip() in texts) for p in found.pieces])
    states, replies = [0] * rows, [[] for _ in range(rows)]
    for _ in range(length):
        logits = torch.rand(rows, len(found.pieces), generator=generator) + wanted
        logits = forbidden.forbid(logits, states, replies)
        for row, token in enumerate(logits.argmax(dim=-1).tolist()):
            replies[row].append(token)
            states[row] = forbidden.after(states[row], token)
    return found, [tokenizer.decode(reply, skip_special_tokens=True) for reply in replies]


def test_japanese_is_banned_as_one_token_as_several_and_as_bytes():
    tokenizer = sentencepiece_like()
    tokens, texts = babble(tokenizer, FORBIDDEN)
    assert tokens.exact
    assert not any(string in text for text in texts for string in FORBIDDEN)
    assert any("質" in text for text in texts) and any("##" in text for text in texts), "more was banned than asked"


def test_each_spelling_is_stopped_at_its_last_token_only():
    tokenizer = sentencepiece_like()
    tokens = token_bytes(tokenizer)
    forbidden = ForbiddenStrings(tokenizer, tokens, FORBIDDEN)
    number = tokenizer.convert_tokens_to_ids
    by_bytes = [number(f"<0x{b:02X}>") for b in "質問".encode()]
    for spelling in (["質問"], ["質", "問"], ["の質", "問:"], ["#", "##"], ["\u2581##", "#"], ["回答", ":"]):
        check(forbidden, [number(piece) for piece in spelling], len(tokens.pieces))
    check(forbidden, by_bytes, len(tokens.pieces))
    check(forbidden, [number("質"), *by_bytes[3:]], len(tokens.pieces))
    # Control tokens are not part of the text, so they do not break a string up.
    state = forbidden.after(forbidden.after(0, number("##")), number("<pad>"))
    assert forbidden.forbid(torch.zeros(1, len(tokens.pieces)), [state], [[]])[0, number("#")] == -torch.inf


def check(forbidden, ids, size):
    state = 0
    for i, token in enumerate(ids):
        banned = forbidden.forbid(torch.zeros(1, size), [state], [ids[:i]])[0, token] == -torch.inf
        assert banned == (i == len(ids) - 1), (ids, i)
        state = forbidden.after(state, token)


def test_text_that_is_more_than_its_tokens_bytes_is_decoded_before_it_is_chosen():
    tokenizer = wordpiece()
    tokens, texts = babble(tokenizer, ("質問", "ab"), length=30, favour=0.0)
    assert not tokens.exact
    assert not any(string in text for text in texts for string in ("質問", "ab"))
    assert any("問" in text for text in texts)


def test_the_table_of_a_state_is_what_following_each_token_gives():
    pieces = [b"", b"a", b"ab", b"b", b"ba", b"aab", b"\xe8", b"\xb3\xaa", b"abba"]
    automaton, vocabulary = ByteAutomaton(["aba", "bb", "質"]), Vocabulary(pieces, size=12)
    for state in np.flatnonzero(~automaton.ends):
        wanted = [automaton.holds(automaton.after(int(state), p)) for p in pieces] + [False] * 3
        assert automaton.completing(int(state), vocabulary).tolist() == wanted


def test_both_generators_avoid_what_they_would_have_said(tiny_generator):
    continuous = ContinuousGenerator(tiny_generator.model, tiny_generator.tokenizer, slots=2)
    conversations = [[user("keyword " * n)] for n in (1, 4, 8)]
    said = tiny_generator.generate(conversations, GenerationSettings(max_new_tokens=10))
    strings = tuple(text[2:4] for text in said if "\ufffd" not in text[2:4] and text[2:4].strip())
    assert strings
    settings = GenerationSettings(max_new_tokens=10, forbidden_strings=strings)
    found = tiny_generator.generate(conversations, settings)
    assert not any(string in text for text in found for string in strings)
    assert continuous.generate(conversations, settings) == found


def test_settings_refuse_empty_strings():
    with pytest.raises(ValueError, match="forbidden_strings"):
        GenerationSettings(forbidden_strings=("",))
    assert GenerationSettings(forbidden_strings=["a"]).forbidden_strings == ("a",)
