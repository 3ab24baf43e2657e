"""Packs: every row whole in one of them, nothing seen or learnt across rows, and the same gradients as alone."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from kaggle_utils.models.loading import load_causal_lm  # noqa: E402
from kaggle_utils.training.sft_attention import choose_packed_attention, isolation_problem, model_inputs  # noqa: E402
from kaggle_utils.training.sft_packing import IGNORED, best_fit_packs, pack_batch, pad_batch  # noqa: E402


@pytest.fixture(scope="module")
def model(tiny_llama):
    return load_causal_lm(tiny_llama, device_map="cpu")[0]


def rows_of(*sizes):
    generator = np.random.default_rng(1)
    rows = [generator.integers(3, 500, size).astype(np.int32) for size in sizes]
    return [(ids, np.where(np.arange(len(ids)) < 2, IGNORED, ids)) for ids in rows]


def test_every_row_is_in_one_pack_and_little_is_wasted():
    lengths = np.random.default_rng(0).lognormal(5.3, 0.8, 3000).astype(int).clip(1, 2048)
    packs = best_fit_packs(lengths, 2048)
    assert sorted(row for pack in packs for row in pack) == list(range(3000))
    assert max(lengths[pack].sum() for pack in packs) <= 2048
    assert len(packs) <= np.ceil(lengths.sum() / 2048 * 1.01)
    with pytest.raises(ValueError, match="expected 1 to 100"):
        best_fit_packs([5, 101], 100)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_packed_row_has_the_logits_and_the_gradients_that_it_has_alone(model, attention):
    model.set_attn_implementation(attention)
    rows = rows_of(9, 30, 1, 17, 4)
    packed = model_inputs(pack_batch([rows[:3], rows[3:]], pad_id=0, size=48), attention=attention)
    labels = packed["labels"]
    model.zero_grad()
    output = model(**packed, use_cache=False)
    total = output.loss * (labels != IGNORED).sum()
    total.backward()
    together = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    places = [(0, 0), (0, 9), (0, 39), (1, 0), (1, 17)]
    alone = 0.0
    for row, (pack, start) in zip(rows, places, strict=True):
        ids, wanted = (torch.from_numpy(array.astype(np.int64))[None] for array in row)
        logits = model(input_ids=ids, use_cache=False).logits[0]
        torch.testing.assert_close(output.logits[pack, start : start + len(logits)], logits, atol=1e-5, rtol=1e-4)
        loss = torch.nn.functional.cross_entropy(logits[:-1], wanted[0, 1:], ignore_index=IGNORED, reduction="sum")
        loss.backward()
        alone += loss.item()
    assert total.item() == pytest.approx(alone, rel=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(together[name], parameter.grad, atol=1e-5, rtol=1e-3, msg=name)
    model.zero_grad()


def test_the_probe_finds_attention_that_lets_rows_see_each_other(model):
    """The kernel for padded rows ignores positions; transformers would train on it without a word."""
    assert choose_packed_attention(model).name == "sdpa"
    with pytest.raises(ValueError, match="kaggle_causal: rows see each other"):
        choose_packed_attention(model, wanted="kaggle_causal")
    assert model.config._attn_implementation == "sdpa"  # what was there before
    assert isolation_problem(model, "sdpa") is None and not any(
        p.grad is not None and p.grad.any() for p in model.parameters()
    )


def test_a_model_with_soft_cap_and_window_keeps_rows_apart():
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=300, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, sliding_window=4, query_pre_attn_scalar=32,
    )  # fmt: skip
    torch.manual_seed(0)
    assert choose_packed_attention(Gemma2ForCausalLM(config)).name == "eager"


def test_the_varlen_layout_is_one_row_with_borders():
    rows = rows_of(3, 2, 4)
    flat = model_inputs(pack_batch([rows[:2], rows[2:]], pad_id=0, size=6), attention="kaggle_varlen")
    assert flat["input_ids"].shape == (1, 12) and flat["max_length"] == 4
    assert flat["cu_seqlens"].tolist() == [0, 3, 5, 6, 10, 12]
    padded = pad_batch(rows, pad_id=9)
    assert padded["input_ids"][1].tolist()[2:] == [9, 9] and padded["attention_mask"].sum() == 9
