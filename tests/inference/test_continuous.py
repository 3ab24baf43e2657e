"""The continuous batch against transformers' own generate, prompt by prompt, on tiny random models in float32."""

from __future__ import annotations

import time

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from kaggle_utils.chat.generator import GenerationSettings, TextGenerator  # noqa: E402
from kaggle_utils.chat.messages import user  # noqa: E402
from kaggle_utils.inference.continuous import ContinuousGenerator  # noqa: E402
from kaggle_utils.inference.continuous_run import ContinuousRun  # noqa: E402
from kaggle_utils.inference.decoding_row import DecodingRow  # noqa: E402
from kaggle_utils.inference.token_choice import TokenChoice  # noqa: E402

SIZES = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
         "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": None,
         "bos_token_id": None, "tie_word_embeddings": False}  # fmt: skip
LENGTHS = (5, 1, 70, 33, 130, 64)
LIMIT = 12
CONVERSATIONS = [[user("keyword " * n)] for n in (1, 9, 3, 14, 2)]


def make(family):
    torch.manual_seed(0)
    if family == "gemma2":  # a window shorter than prompts, soft-caps, alternating layers
        config = transformers.Gemma2Config(**SIZES, head_dim=16, sliding_window=20, query_pre_attn_scalar=16)
        config._attn_implementation = "eager"
        model = transformers.Gemma2ForCausalLM(config)
    elif family == "qwen2":
        config = transformers.Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=16, max_window_layers=2)
        model = transformers.Qwen2ForCausalLM(config)
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3 if parameter.ndim == 2 else 1)
    return model.eval()


@pytest.fixture(scope="module")
def gemma():
    return make("gemma2")


@pytest.fixture(scope="module")
def continuous(tiny_generator):
    return ContinuousGenerator(tiny_generator.model, tiny_generator.tokenizer, slots=3, prefill_tokens=64)


def rows_of(seed=1):
    generator = torch.Generator().manual_seed(seed)
    prompts = [torch.randint(1, 300, (n,), generator=generator).tolist() for n in LENGTHS]
    return [DecodingRow(i, prompt, LIMIT - i) for i, prompt in enumerate(prompts)]


def alone(model, row, **options):
    ids = torch.tensor([row.prompt])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=row.limit, do_sample=False, **options)
    return out[0, len(row.prompt) :].tolist()


def decode(model, rows, settings=None, **options):
    run = ContinuousRun(model, **({"slots": 3, "prefill_tokens": 100} | options))
    run.run(rows, TokenChoice(settings or GenerationSettings()), ended=lambda row: "")
    return run


@pytest.mark.parametrize(("family", "penalty"), [("llama", 1.0), ("gemma2", 1.3), ("qwen2", 1.3)])
def test_every_row_is_what_generate_gives_it_alone(family, penalty, gemma):
    model = gemma if family == "gemma2" else make(family)
    before, rows = model.config._attn_implementation, rows_of()
    decode(model, rows, GenerationSettings(repetition_penalty=penalty))
    assert model.config._attn_implementation == before
    assert [row.new for row in rows] == [alone(model, row, repetition_penalty=penalty) for row in rows]
    assert all(row.finish == "length" for row in rows)


def test_a_finished_row_makes_room_and_the_pages_come_back(gemma, monkeypatch):
    widths = []
    handle = gemma.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    rows = rows_of()
    try:
        decode(gemma, rows, slots=2)
    finally:
        handle.remove()
    steps = [shape for shape in widths if shape[1] == 1 and shape[0] <= 2]
    assert max(shape[0] for shape in steps) == 2
    total = sum(row.limit for row in rows)
    assert len(steps) < total * 0.7, "rows did not run side by side, or waited for the longest"


def test_out_of_memory_halves_the_places_and_costs_no_token(gemma):
    expected = rows_of()
    decode(gemma, expected)

    def small(module, args, kwargs):
        if kwargs["input_ids"].shape[0] > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    rows = rows_of()
    handle = gemma.register_forward_pre_hook(small, with_kwargs=True)
    try:
        run = decode(gemma, rows, slots=6, prefill_tokens=400)
    finally:
        handle.remove()
    assert run.slots <= 3 and [row.new for row in rows] == [row.new for row in expected]


def test_a_model_without_heads_of_its_own_is_refused():
    with pytest.raises(ValueError, match="HFGenerator"):
        ContinuousRun(transformers.MambaForCausalLM(transformers.MambaConfig(
            vocab_size=32, hidden_size=16, num_hidden_layers=1, state_size=4)))  # fmt: skip


def test_replies_are_those_of_hfgenerator_in_order(continuous, tiny_generator):
    assert isinstance(continuous, TextGenerator)
    settings = GenerationSettings(max_new_tokens=10)
    found = continuous.generate(CONVERSATIONS, settings)
    assert found == tiny_generator.generate(CONVERSATIONS, settings) and len(set(found)) > 1
    assert continuous.generate([]) == []


def test_each_reply_tells_its_figures_and_keeps_its_own_limit(continuous):
    order = []
    made = continuous.generate_each(
        CONVERSATIONS, GenerationSettings(max_new_tokens=9), max_new_tokens=[None, 2, None, 4, None],
        on_done=lambda i, answer: order.append(i),
    )  # fmt: skip
    assert [m.output_tokens for m in made if m.finish_reason == "length"][:5] == [9, 2, 9, 4, 9]
    assert sorted(order) == list(range(5)) and order.index(1) < order.index(0)
    assert made[3].prompt_tokens > made[0].prompt_tokens and all(m.seconds > 0 for m in made)


def test_a_stop_string_ends_a_reply_where_hfgenerator_ends_it(continuous, tiny_generator):
    whole = continuous.generate(CONVERSATIONS, GenerationSettings(max_new_tokens=12))
    stop = next(text[k : k + 2] for text in whole for k in range(3, len(text) - 2) if text[k : k + 2].isprintable())
    settings = GenerationSettings(max_new_tokens=12, stop_strings=(stop,))
    found = continuous.generate(CONVERSATIONS, settings)
    assert found == tiny_generator.generate(CONVERSATIONS, settings)
    assert not any(stop in text for text in found) and found != whole


def test_a_seeded_row_is_the_same_in_any_company(continuous):
    settings = GenerationSettings(max_new_tokens=10, temperature=1.5, top_p=0.9, seed=3)
    together = continuous.generate(CONVERSATIONS, settings)
    assert [continuous.generate([c], settings)[0] for c in CONVERSATIONS] == together
    twice = continuous.generate([CONVERSATIONS[0]] * 2, settings)
    assert twice[0] == together[0] and twice[1] != twice[0]


def test_the_deadline_ends_rows_as_far_as_they_came(continuous):
    slow = continuous.model.register_forward_hook(lambda *args: time.sleep(0.05))
    started = time.monotonic()
    try:
        made = continuous.generate_each(CONVERSATIONS, GenerationSettings(max_new_tokens=900), deadline=0.4)
    finally:
        slow.remove()
    assert time.monotonic() - started < 3
    assert {m.finish_reason for m in made} == {"deadline"}
    begun = sum(m.output_tokens > 0 for m in made)
    assert 1 <= begun <= 3 and all(m.text == "" for m in made if not m.output_tokens)
