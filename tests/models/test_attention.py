"""Which attention path is chosen where, and that each kernel is ordinary attention."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from kaggle_utils.models import attention  # noqa: E402
from kaggle_utils.models.attention import PATHS, AttentionPath, choose_attention, register_attention, softcapped  # noqa: E402

GEMMA = transformers.Gemma2Config(attn_logit_softcapping=50.0)
LLAMA = transformers.LlamaConfig()
BERT = transformers.BertConfig()


@pytest.mark.parametrize(
    ("config", "capability", "allow", "name", "words"),
    [
        (GEMMA, None, PATHS, "causal", "CPU"),
        (LLAMA, None, PATHS, "causal", "CPU"),
        (GEMMA, (7, 5), PATHS, "ragged", "7.5 has neither"),
        (LLAMA, (6, 0), PATHS, "ragged", "6.0 has neither"),
        (GEMMA, (8, 0), PATHS, "flex", "soft-cap of 50"),
        (LLAMA, (9, 0), PATHS, "flex", "document blocks in one kernel"),
        (GEMMA, (9, 0), ("varlen", "causal"), "causal", "without a mask"),
        (GEMMA, (9, 0), ("ragged", "causal"), "ragged", "row by row"),
        (LLAMA, (9, 0), ("causal",), "causal", "without a mask"),
        (BERT, (9, 0), PATHS, "masked", "both ways"),
        (transformers.DebertaV2Config(), None, PATHS, "masked", "both ways"),
    ],
)
def test_the_path_follows_model_and_device(config, capability, allow, name, words):
    chosen = choose_attention(config, capability=capability, allow=allow)
    assert chosen.name == name and words in chosen.reason


def test_varlen_is_offered_only_where_torch_has_it_with_a_window(monkeypatch):
    monkeypatch.setattr(attention, "_varlen_kernel_of_torch", lambda: print)
    assert choose_attention(LLAMA, capability=(9, 0), allow=("varlen",)).name == "varlen"
    with pytest.raises(ValueError, match="no attention path is left"):
        choose_attention(GEMMA, capability=(9, 0), allow=("varlen",))
    with pytest.raises(ValueError, match="no attention path is left"):
        choose_attention(LLAMA, capability=(9, 0), allow=("varlen",), half=False)
    monkeypatch.setattr(attention, "_varlen_kernel_of_torch", lambda: None)
    with pytest.raises(ValueError, match="no attention path is left"):
        choose_attention(LLAMA, capability=(9, 0), allow=("varlen",))


def test_an_encoder_never_gets_a_causal_kernel():
    with pytest.raises(ValueError, match=r"allow \['masked'\]"):
        choose_attention(BERT, capability=(9, 0), allow=("flex", "varlen", "causal"))


def test_what_a_path_says_about_itself():
    assert [AttentionPath(name, "").packed for name in PATHS] == [True, True, True, False, False]
    assert [AttentionPath(name, "").implementation for name in PATHS] == [
        "kaggle_flex", "kaggle_varlen", "kaggle_ragged", "kaggle_causal", "eager",
    ]  # fmt: skip


def test_the_kernels_are_known_to_transformers_after_registering():
    register_attention()
    register_attention()
    known = transformers.AttentionInterface()
    assert {"kaggle_flex", "kaggle_causal"} <= set(known.keys())


@pytest.mark.parametrize("cap", [5.0, 30.0, 50.0])
def test_the_soft_cap_is_tanh_for_every_score(cap):
    scores = torch.cat([torch.linspace(-20 * cap, 20 * cap, 4001), torch.tensor([0.0, 1e-4, -1e-4, 1e30, -1e30])])
    found, expected = softcapped(scores, cap), cap * torch.tanh(scores.double() / cap).float()
    assert found.isfinite().all(), "exp overflows to inf, and cap - 2 cap / inf is cap"
    torch.testing.assert_close(found, expected, atol=2e-6 * cap, rtol=1e-5)


def test_without_a_cap_nothing_changes():
    scores = torch.randn(4)
    assert softcapped(scores, None) is scores


@pytest.mark.parametrize("keys", [1, 2, 4])
@pytest.mark.parametrize(("cap", "window"), [(None, None), (5.0, None), (None, 6), (5.0, 6), (5.0, 100)])
def test_the_causal_kernel_is_ordinary_attention(keys, cap, window):
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, heads, 17, 16, dtype=torch.float64) for heads in (4, keys, keys))
    kernel = attention._causal_kernel()
    found, _ = kernel(None, query * 3, key, value, None, scaling=0.25, softcap=cap, sliding_window=window)
    wide_key, wide_value = (t.repeat_interleave(4 // keys, dim=1) for t in (key, value))
    scores = (query * 3) @ wide_key.transpose(2, 3) * 0.25
    scores = cap * torch.tanh(scores / cap) if cap else scores
    distance = torch.arange(17)[:, None] - torch.arange(17)[None]
    scores = scores.masked_fill((distance < 0) | (distance >= (window or 999)), float("-inf"))
    expected = (scores.softmax(-1) @ wide_value).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
