"""Shared beginnings against one prompt at a time: Llama and Gemma 2 shapes, masks, windows, memory."""

from __future__ import annotations

import logging

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from kaggle_utils.chat.generator import TextGenerator  # noqa: E402
from kaggle_utils.chat.messages import system, user  # noqa: E402
from kaggle_utils.chat.templates import CHATML  # noqa: E402
from kaggle_utils.inference.generation import HFGenerator  # noqa: E402
from kaggle_utils.inference.prefix_yes_no import PrefixYesNo, packed_logits  # noqa: E402

THINGS = ["cat", "garden gnome", "water", "a" * 40]
ASKED = ["Is it alive?", "Is it bigger than a car?", "x", "Can you eat it? " * 5, "Is it alive?"]
CONVERSATIONS = [
    (system("Answer with yes or no."), user(f"The thing: {thing}\nQuestion: {asked}"))
    for asked in ASKED
    for thing in THINGS
]


def one_at_a_time(generator, conversations):
    return [generator.yes_no([conversation])[0] for conversation in conversations]


def small_gemma(tokenizer, *, layers=2, hidden=64, heads=4, window=4096, device="cpu", dtype=torch.float32):
    """Gemma 2 with its soft-capped attention and logits, and layers of two kinds."""
    torch.manual_seed(0)
    config = transformers.Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads // 2, head_dim=hidden // heads, sliding_window=window,
        attn_logit_softcapping=50.0, final_logit_softcapping=30.0, max_position_embeddings=4096,
        query_pre_attn_scalar=hidden // heads, initializer_range=0.2,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return HFGenerator(model.eval().to(device, dtype), tokenizer, template=CHATML, batch_size=4)


@pytest.fixture(scope="module")
def tokenizer(tiny_llama):
    return transformers.AutoTokenizer.from_pretrained(tiny_llama)


@pytest.mark.parametrize("max_tokens", [None, 150, 400])
def test_llama_gives_what_one_prompt_at_a_time_gives(tiny_generator, max_tokens):
    scorer = PrefixYesNo(tiny_generator, max_tokens=max_tokens)
    found = scorer.yes_no(CONVERSATIONS)
    assert scorer.packs is True
    assert found == pytest.approx(one_at_a_time(tiny_generator, CONVERSATIONS), abs=1e-5)
    assert found[:4] == pytest.approx(found[-4:], abs=1e-6), "the same question twice"
    assert len(set(found)) > 10, "a constant would pass"
    assert scorer.yes_no(CONVERSATIONS[::-1])[::-1] == pytest.approx(found, abs=1e-5)
    assert scorer.yes_no([]) == []


def test_gemma_2_gives_what_one_prompt_at_a_time_gives(tokenizer):
    generator = small_gemma(tokenizer)
    scorer = PrefixYesNo(generator)
    assert scorer.yes_no(CONVERSATIONS) == pytest.approx(one_at_a_time(generator, CONVERSATIONS), abs=1e-5)
    assert scorer.packs is True


def test_the_shared_beginning_is_computed_once(tiny_generator):
    """Count the positions that go through the model: the tree's, not the prompts'."""
    scorer, widths = PrefixYesNo(tiny_generator), []
    scorer.yes_no(CONVERSATIONS[:2])
    hook = tiny_generator.model.model.embed_tokens.register_forward_hook(
        lambda module, args, output: widths.append(output.shape[0] * output.shape[1])
    )
    try:
        conversations = [(*CONVERSATIONS[0][:1], user(f"The thing: cat\nQuestion: Is it {n}?")) for n in range(40)]
        scorer.yes_no(conversations)
        packed, widths[:] = sum(widths), []
        tiny_generator.yes_no(conversations)
    finally:
        hook.remove()
    assert packed < sum(widths) / 2


def test_prompts_longer_than_the_pack_or_the_window_go_the_plain_way(tokenizer, tiny_generator):
    long = (user("Is it " + "very " * 300 + "old?"),)
    scorer = PrefixYesNo(tiny_generator, max_tokens=200)
    found = scorer.yes_no([long, CONVERSATIONS[0]])
    assert found == pytest.approx(one_at_a_time(tiny_generator, [long, CONVERSATIONS[0]]), abs=1e-5)
    narrow = small_gemma(tokenizer, window=32)
    scorer = PrefixYesNo(narrow)
    assert scorer.yes_no(CONVERSATIONS) == pytest.approx(one_at_a_time(narrow, CONVERSATIONS), abs=1e-5)
    assert scorer._limit() == 32


def test_a_model_that_differs_is_asked_plainly(tiny_llama, caplog, monkeypatch):
    generator = HFGenerator.from_folder(tiny_llama, device_map="cpu")
    monkeypatch.setattr(
        "kaggle_utils.inference.prefix_yes_no.packed_logits", lambda model, rows: torch.randn(len(rows), 512)
    )
    scorer = PrefixYesNo(generator)
    with caplog.at_level(logging.WARNING):
        found = scorer.yes_no(CONVERSATIONS)
    assert scorer.packs is False
    assert "differ" in caplog.text
    assert found == pytest.approx(one_at_a_time(generator, CONVERSATIONS), abs=1e-4)


def test_an_unsuitable_kernel_is_never_packed(tiny_llama):
    generator = HFGenerator.from_folder(tiny_llama, device_map="cpu")
    generator.model.config._attn_implementation = "flash_attention_2"
    assert PrefixYesNo(generator).packs is False


def test_out_of_memory_makes_packs_smaller(tiny_generator, monkeypatch):
    """The first packs fail as a full GPU fails; every value still comes, and the size is kept."""
    sizes = []

    def tight(model, rows):
        sizes.append(len({tuple(row[:end]) for row in rows for end in range(1, len(row) + 1)}))
        if sizes[-1] > 150:
            raise torch.cuda.OutOfMemoryError("full")
        return packed_logits(model, rows)

    scorer = PrefixYesNo(tiny_generator, max_tokens=1000)
    expected = scorer.yes_no(CONVERSATIONS)
    monkeypatch.setattr("kaggle_utils.inference.prefix_yes_no.packed_logits", tight)
    assert scorer.yes_no(CONVERSATIONS) == pytest.approx(expected, abs=1e-5)
    assert scorer.max_tokens < 1000
    assert max(sizes) > 150 and sizes[-1] <= 150
    monkeypatch.setattr(
        "kaggle_utils.inference.prefix_yes_no.packed_logits",
        lambda model, rows: (_ for _ in ()).throw(torch.cuda.OutOfMemoryError("full")),
    )
    with pytest.raises(torch.cuda.OutOfMemoryError):
        scorer.yes_no(CONVERSATIONS)


def test_it_is_a_text_generator(tiny_generator):
    scorer = PrefixYesNo(tiny_generator)
    assert isinstance(scorer, TextGenerator)
    assert scorer.generate(CONVERSATIONS[:1]) == tiny_generator.generate(CONVERSATIONS[:1])
    with pytest.raises(ValueError, match="max_tokens=0"):
        PrefixYesNo(tiny_generator, max_tokens=0)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gemma_2_shapes_on_a_gpu(tokenizer, dtype):
    """Layers as wide as Gemma 2 2B's: packed within rounding of one prompt at a time."""
    generator = small_gemma(tokenizer, layers=4, hidden=2304, heads=8, device="cuda:0", dtype=dtype)
    scorer = PrefixYesNo(generator)
    found = scorer.yes_no(CONVERSATIONS)
    assert scorer.packs is True
    tolerance = 1e-3 if dtype == torch.float32 else 0.05
    assert found == pytest.approx(one_at_a_time(generator, CONVERSATIONS), abs=tolerance)


@pytest.mark.gpu
def test_llama_on_a_gpu(tiny_llama, tiny_generator):
    generator = HFGenerator.from_folder(tiny_llama, device_map="cuda:0", dtype="float32")
    scorer = PrefixYesNo(generator)
    assert scorer.yes_no(CONVERSATIONS) == pytest.approx(one_at_a_time(tiny_generator, CONVERSATIONS), abs=1e-3)
    assert scorer.packs is True
