"""Rows as tokens: what is learnt, how a response ends, and what is left out and why."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("transformers")

from family_tokenizers import byte_level

from kaggle_utils.chat.messages import as_conversation, assistant, system, user
from kaggle_utils.chat.templates import TEMPLATES
from kaggle_utils.training.sft_data import encode_rows
from kaggle_utils.training.sft_encoding import encode_conversation
from kaggle_utils.training.sft_packing import IGNORED
from kaggle_utils.training.sft_prompts import sft_template
from kaggle_utils.training.sft_settings import SftSettings

HOSTILE = "<end_of_turn> <|im_end|> <|eot_id|> <|end|> <eos> and <bos>"
ENDS = {"gemma2": "<end_of_turn>", "llama3": "<|eot_id|>", "phi3": "<|end|>", "chatml": "<|im_end|>",
        "alpaca": "<eos>", "alpaca-ja": "<eos>"}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return byte_level()


def learnt(tokenizer, ids, labels) -> str:
    assert set(labels[labels != IGNORED]) <= set(ids)
    return tokenizer.decode(ids[labels != IGNORED])


@pytest.mark.parametrize("name", ENDS)
def test_a_response_is_learnt_with_the_token_that_ends_it_behind_the_prompt_of_generation(tokenizer, name):
    template = sft_template(tokenizer, name)
    turns = (user(f"Hi {HOSTILE}"), assistant("No."))
    ids, labels = encode_conversation(turns, template, tokenizer)
    assert learnt(tokenizer, ids, labels) == "No." + ENDS[name]
    prompt = template.encode(turns[:1], tokenizer)
    assert ids[: len(prompt)].tolist() == prompt  # the very ids that generation gives it
    assert ids.tolist().count(tokenizer.convert_tokens_to_ids(ENDS[name])) == (
        1 if name in ("alpaca", "alpaca-ja") else 2
    )
    assert ids.tolist().count(tokenizer.bos_token_id) == (name == "gemma2")
    everything = encode_conversation(turns, template, tokenizer, response_only=False)[1]
    assert (everything[1:] == ids[1:]).all() and everything[0] == IGNORED


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_response_of_a_long_conversation_is_learnt_and_its_frame_is_the_template_s(tokenizer, name):
    turns = (user("a"), assistant("b c"), user("d"), assistant("e\n"))
    template = sft_template(tokenizer, name)
    ids, labels = encode_conversation(turns, template, tokenizer)
    trimmed = "e" if template.trims else "e\n"
    assert learnt(tokenizer, ids, labels) == f"b c{ENDS[name]}{trimmed}{ENDS[name]}"
    whole = tokenizer.decode(template.encode(turns, tokenizer, add_generation_prompt=False))
    assert whole.startswith(tokenizer.decode(ids))


def test_headings_teach_the_last_response_and_keep_the_system_text(tokenizer):
    template = sft_template(tokenizer, "alpaca-ja")
    turns = (system("短く。"), user("a"), assistant("b"), user("c"), assistant("d"))
    ids, labels = encode_conversation(turns, template, tokenizer)
    assert tokenizer.decode(ids).startswith("短く。\n\n### 指示:\na\n\n### 応答:\nb")
    assert learnt(tokenizer, ids, labels) == "d<eos>"


def test_a_tokenizer_s_own_template_that_drops_earlier_turns_teaches_the_last_one(tokenizer):
    own = byte_level()
    own.chat_template = (
        "{% for m in messages[-2:] %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    turns = as_conversation([user("a"), assistant("b"), user("c"), assistant("d")])
    ids, labels = encode_conversation(turns, sft_template(own, None), own)
    assert learnt(own, ids, labels) == "d<|im_end|>"


def test_bad_lines_are_counted_with_reasons_and_never_fatal(tokenizer, tmp_path):
    lines = [json.dumps(row, ensure_ascii=False) for row in (
        {"instruction": "足す", "input": "1 2", "output": "3"},
        {"prompt": "q", "completion": "  "},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "user", "content": "a"}]},
        ["no object"],
        {"question": "only"},
        {"question": "long " * 300, "answer": "x"},
    )]  # fmt: skip
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join([*lines, "{broken", ""]), encoding="utf-8")
    settings = SftSettings(template="gemma2", max_length=64)
    given = {"tokenizer": tokenizer, "template": sft_template(tokenizer, "gemma2"), "progress": False}
    rows = encode_rows(file, settings=settings, **given)
    report = rows.report
    assert (report.rows, report.used, report.too_long, sum(report.bad.values())) == (8, 2, 1, 5)
    assert report.bad["no JSON"] == 1 and report.examples[0] == "line 2: the response is empty"
    assert "足す\n\n1 2" in tokenizer.decode(rows.ids[0])
    assert "1 longer than max_length" in report.to_text()
    with pytest.raises(ValueError, match=r"line 7 has .* max_length is 64"):
        encode_rows(file, settings=SftSettings(template="gemma2", max_length=64, over_long="error"), **given)
    with pytest.raises(ValueError, match="no row can be trained on: 0 of 1"):
        encode_rows([{"a": 1}], settings=settings, **given)


def test_cutting_takes_the_middle_of_the_prompt_and_leaves_frame_and_response(tokenizer):
    row = {"instruction": "begin " + "middle " * 200 + "end", "output": "short answer"}
    template = sft_template(tokenizer, "llama3")
    given = {"tokenizer": tokenizer, "template": template, "progress": False}
    for response_only in (True, False):
        settings = SftSettings(max_length=60, over_long="cut_prompt", response_only=response_only)
        rows = encode_rows([row, {**row, "output": "word " * 90}], settings=settings, **given)
        text = tokenizer.decode(rows.ids[0])
        assert len(rows) == rows.report.cut == rows.report.too_long == 1 and len(rows.ids[0]) == 60
        assert text.startswith("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nbegin")
        assert text.endswith("end<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nshort answer<|eot_id|>")
    assert learnt(tokenizer, rows.ids[0], np.where(np.arange(60) > 0, rows.ids[0], IGNORED)).endswith("<|eot_id|>")


def test_a_template_of_another_family_is_no_matter_of_one_row(tokenizer, tiny_llama):
    from kaggle_utils.models.loading import load_tokenizer

    foreign = load_tokenizer(tiny_llama)
    template = sft_template(foreign, "gemma2")
    with pytest.raises(ValueError, match="needs '<bos>'"):
        encode_rows([{"instruction": "a", "output": "b"}], tokenizer=foreign, template=template, settings=SftSettings())
    with pytest.raises(ValueError, match="alpaca-ja, gemma2"):
        sft_template(tokenizer, None)
