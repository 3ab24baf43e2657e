"""Every attention path gives the logits of the plain padded transformers forward, whatever the rows look like."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_classifiers import DECODERS, ENCODERS, tiny_classifier  # noqa: E402

from kaggle_utils.models.attention import AttentionPath  # noqa: E402
from kaggle_utils.models.pack_limits import longest_row  # noqa: E402
from kaggle_utils.models.packed import PackedClassifier, pack_sizes  # noqa: E402

TOLERANCE = {"atol": 2e-4, "rtol": 2e-4}
LENGTHS = [21, 1, 13, 8, 9, 1, 40]
"""Longer than the window of 8, as long, one more, and single tokens."""


def rows_of(lengths, *, seed=0, low=0):
    """Random rows; low=0 lets the pad id 0 occur anywhere, the pooled token included."""
    random = np.random.default_rng(seed)
    rows = [random.integers(low, 512, n).astype(np.int32) for n in lengths]
    if low == 0:
        rows[0][-1] = rows[-1][0] = 0
    return rows


def plain(model, rows):
    """transformers' own padded forward; pad id 511 stands nowhere in the rows, so that its pooling finds the last."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*map(int, row), *[511] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    old = model.config.pad_token_id, model.config._attn_implementation
    model.config.pad_token_id, model.config._attn_implementation = 511, "eager"
    with torch.no_grad():
        logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
    model.config.pad_token_id, model.config._attn_implementation = old
    return logits.float().cpu().numpy()


def without_511(rows):
    return [np.minimum(row, 510) for row in rows]


def packed(model, path, **options):
    return PackedClassifier(model, path=AttentionPath(path, "a test"), **options)


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("path", ["causal", "flex", "ragged"])
def test_a_decoder_gives_the_plain_logits(family, path):
    model, rows = tiny_classifier(family), without_511(rows_of(LENGTHS))
    expected = plain(model, rows)
    assert np.abs(expected - expected[0]).max() > 0.1, "rows that do not differ would show nothing"
    found = packed(model, path, max_tokens=128).score(rows)
    assert found.dtype == np.float32 and found.shape == (len(rows), 3)
    np.testing.assert_allclose(found, expected, **TOLERANCE)


@pytest.mark.parametrize("family", ENCODERS)
def test_an_encoder_gives_the_plain_logits(family):
    model, rows = tiny_classifier(family), without_511(rows_of(LENGTHS))
    expected = plain(model, rows)
    scorer = PackedClassifier(model)
    assert scorer.path.name == "masked" and scorer.padded
    np.testing.assert_allclose(scorer.score(rows), expected, **TOLERANCE)


def test_what_the_plain_forward_is_compared_with_depends_on_window_and_cap():
    """Otherwise the tests above would pass on kernels that forget them."""
    rows = without_511(rows_of([30]))
    logits = [plain(tiny_classifier("gemma2", **changes), rows) for changes in
              ({}, {"sliding_window": 64}, {"attn_logit_softcapping": None})]  # fmt: skip
    assert np.abs(logits[0] - logits[1]).max() > 1e-2 and np.abs(logits[0] - logits[2]).max() > 1e-2


@pytest.mark.parametrize("path", ["causal", "flex", "ragged"])
@pytest.mark.parametrize(
    "lengths",
    [[1], [1, 1, 1], [128], [127], [100, 28], [129], [300], [60, 90], [64, 64], [128, 128, 128]],
    ids=lambda lengths: "+".join(map(str, lengths)),
)
def test_packs_of_every_shape(path, lengths):
    """Exactly full, one token short, over max_tokens, a single longer row, and mostly filler."""
    model, rows = tiny_classifier("gemma2"), without_511(rows_of(lengths))
    np.testing.assert_allclose(packed(model, path, max_tokens=128).score(rows), plain(model, rows), **TOLERANCE)


@pytest.mark.parametrize(
    ("family", "path"),
    [("gemma2", "flex"), ("llama", "flex"), ("mistral", "flex"), ("gemma2", "ragged"), ("gemma2", "causal"),
     ("llama", "causal"), ("deberta-v2", "masked")],
)  # fmt: skip
def test_rows_of_a_pack_do_not_see_each_other(family, path):
    model, rows = tiny_classifier(family), rows_of([20, 30, 10, 25], low=1)
    scorer = packed(model, path, max_tokens=128)
    before = scorer.score(rows)
    rows[1] = (rows[1] + 7) % 500
    after = scorer.score(rows)
    np.testing.assert_allclose(after[[0, 2, 3]], before[[0, 2, 3]], atol=1e-6)
    assert np.abs(after[1] - before[1]).max() > 1e-2


def test_order_in_the_pack_does_not_matter():
    model, rows = tiny_classifier("gemma2"), rows_of(LENGTHS)
    scorer = packed(model, "flex", max_tokens=128)
    np.testing.assert_allclose(scorer.score(rows[::-1])[::-1], scorer.score(rows), **TOLERANCE)


@pytest.mark.parametrize("path", ["causal", "flex", "ragged"])
def test_what_fills_a_pack_up_does_not_matter(path):
    """The same row alone, and beside one that makes the pack larger."""
    model, rows = tiny_classifier("llama"), rows_of([37, 100])
    scorer = packed(model, path, max_tokens=256)
    np.testing.assert_allclose(scorer.score(rows[:1])[0], scorer.score(rows)[0], **TOLERANCE)


def test_the_chosen_path_on_a_cpu():
    scorer = PackedClassifier(tiny_classifier("gemma2"))
    assert scorer.path.name == "causal" and scorer.padded and "CPU" in scorer.path.reason
    assert not packed(tiny_classifier("llama"), "flex").padded


def test_no_gradients_and_no_dropout_are_left_on():
    model = tiny_classifier("gemma2", attention_dropout=0.5).train()
    scorer, rows = PackedClassifier(model), rows_of([9, 4])
    assert not scorer.launch(rows).host.requires_grad
    np.testing.assert_array_equal(scorer.score(rows), scorer.score(rows))


@pytest.mark.parametrize("rows", [[], [np.array([], np.int32)], [np.array([1]), np.array([], np.int64)]])
def test_a_row_without_tokens_is_refused(rows):
    with pytest.raises(ValueError, match="at least one"):
        PackedClassifier(tiny_classifier("llama")).score(rows)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.uint16])
def test_every_integer_type_of_ids_serves(dtype):
    model = tiny_classifier("llama")
    rows = rows_of([5, 9])
    for path in ("causal", "flex", "ragged"):
        scorer = packed(model, path)
        np.testing.assert_array_equal(scorer.score([row.astype(dtype) for row in rows]), scorer.score(rows))


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_a_row_that_is_longer_than_the_table_of_positions_is_named(family):
    """RoBERTa keeps two places of its table for padding."""
    import transformers

    kind = {"bert": "Bert", "roberta": "Roberta", "electra": "Electra"}[family]
    sizes = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
             "num_attention_heads": 4, "max_position_embeddings": 34, "embedding_size": 64}  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**sizes, pad_token_id=1)
    scorer = PackedClassifier(getattr(transformers, f"{kind}ForSequenceClassification")(config))
    longest = 32 if family == "roberta" else 34
    assert np.isfinite(scorer.score(rows_of([longest, 3], low=2))).all()
    with pytest.raises(
        ValueError, match=rf"a row of {longest + 1} tokens \(row 1 .* positions for {longest}; lower max_length"
    ):
        scorer.score(rows_of([3, longest + 1], low=2))


def test_computed_positions_have_no_end():
    assert longest_row(tiny_classifier("deberta-v2")) is longest_row(tiny_classifier("llama")) is None


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("ModernBert", {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4}),
     ("DistilBert", {"dim": 64, "n_heads": 4, "n_layers": 1, "hidden_dim": 128}),
     ("GPT2", {"n_embd": 64, "n_head": 4, "n_layer": 1}),
     ("Albert", {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "embedding_size": 64})],
)  # fmt: skip
def test_families_that_are_built_otherwise_are_refused_by_name(kind, sizes):
    import transformers

    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    config = getattr(transformers, f"{kind}Config")(vocab_size=512, **ends, **sizes)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(
        ValueError, match=rf"{kind}ForSequenceClassification cannot be scored in packs; .*Gemma-2, .*DeBERTa"
    ):
        PackedClassifier(model)


def test_launch_then_collect_is_score():
    scorer, rows = PackedClassifier(tiny_classifier("llama")), rows_of([5, 9])
    first, second = scorer.launch(rows), scorer.launch(rows[:1])
    np.testing.assert_allclose(scorer.collect(second)[0], scorer.collect(first)[0], **TOLERANCE)


@pytest.mark.parametrize("path", ["flex", "ragged"])
def test_packs_of_any_number_of_rows_are_one_shape_for_the_compiler(path, monkeypatch):
    """Every other shape would be compiled in the middle of a run."""
    from torch._dynamo.utils import counters

    compile = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: compile(self, backend="eager", **options))
    scorer = packed(tiny_classifier("gemma2"), path, max_tokens=256, compile=True)
    expected = packed(tiny_classifier("gemma2"), path, max_tokens=256, compile=False)
    torch._dynamo.reset()
    graphs = []
    for lengths in ([100, 90], [240], [3, 50, 80, 60, 31], [20, *[2] * 70], [20, *[3] * 69]):
        rows = rows_of(lengths)
        np.testing.assert_allclose(scorer.score(rows), expected.score(rows), **TOLERANCE)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] > 0 and graphs[1] == graphs[2] == graphs[0], "only more pooled tokens are another shape"
    assert graphs[3] == graphs[4] == graphs[0] + 1, "of the last layer alone"


@pytest.mark.parametrize("max_tokens", [1, 100, 128, 1000, 8192, 10_000])
def test_pack_sizes_are_few_and_whole_blocks(max_tokens):
    sizes = pack_sizes(max_tokens)
    assert list(sizes) == sorted(set(sizes)) and len(sizes) <= 4
    assert all(size % 128 == 0 and size > 0 for size in sizes)
    assert max_tokens < 128 or sizes[-1] <= max_tokens


# On a GPU: pytest -m gpu tests/models/test_packed.py

REAL_WIDTHS = {"hidden_size": 256, "intermediate_size": 512, "vocab_size": 512}


@pytest.mark.gpu
@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("path", ["flex", "ragged", "causal", "varlen"])
@pytest.mark.parametrize("family", ["gemma2-wide-heads", "gemma2", "llama", "mistral", "qwen3"])
def test_on_a_gpu_within_the_noise_of_bfloat16(family, path, compile):
    from kaggle_utils.models.attention import choose_attention

    changes = {"head_dim": 64} if family != "gemma2-wide-heads" else {}
    window = {"sliding_window": 128} if family in ("gemma2-wide-heads", "gemma2", "mistral") else {}
    model = tiny_classifier(family, **REAL_WIDTHS, **changes, **window)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.div_(4)  # as initialised: the noise of bfloat16 grows with the weights
    rows = without_511(rows_of([700, 1, 300, 129, 128, 127, 20]))
    exact = plain(model.cuda(), rows)
    model = model.to(torch.bfloat16)
    noise = np.abs(plain(model, rows) - exact).max()
    try:
        choose_attention(model.config, capability=torch.cuda.get_device_capability(), allow=(path,))
    except ValueError as error:
        pytest.skip(str(error))
    found = packed(model, path, max_tokens=2048, compile=compile).score(rows)
    assert np.abs(found - exact).max() <= 3 * noise + 1e-3


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["gemma2-wide-heads", "llama", "mistral"])
def test_on_a_gpu_compiling_is_measured_and_both_ways_pass_the_check(family):
    model = tiny_classifier(family, **REAL_WIDTHS, **({} if "wide" in family else {"head_dim": 64}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.div_(4)
    scorer = PackedClassifier(model.to(torch.bfloat16).cuda(), max_tokens=2048)
    assert scorer.path.name != "flex", "without the compiler flex attention fills the whole square of scores"
    rows = without_511(rows_of([700, 300, 129, 128, 127, 20], low=1))
    scorer.self_check(rows)
    choice = scorer.tune(rows, remaining_tokens=10**9)
    assert "tokens took" in scorer.notes[-1], scorer.notes
    for way in ("compiled", "plain"):
        scorer.use(way)
        scorer._checked = False
        scorer.self_check(rows)
    assert choice in ("compiled", "plain") and len(scorer.notes) == 1, scorer.notes


def test_an_id_outside_the_vocabulary_is_an_error_not_a_dead_process():
    model = tiny_classifier("llama")
    with pytest.raises(ValueError, match=r"token id \d+ is outside"):
        PackedClassifier(model).score([np.array([1, model.config.vocab_size])])


@pytest.mark.gpu
@pytest.mark.parametrize("path", ["flex", "ragged", "varlen"])
def test_a_launch_waits_for_nothing_and_a_collect_for_its_own_pack(path):
    """A device with work ahead of it: neither the next launch nor the last pack's logits wait for that."""
    import time

    model = tiny_classifier("llama", **REAL_WIDTHS).to("cuda", torch.bfloat16)
    # Uncompiled, flex attention is torch's operations, which wait.
    scorer, rows = packed(model, path, max_tokens=1024, compile=path == "flex"), rows_of([70, 300, 1])
    expected = scorer.score(rows)
    first, started = scorer.launch(rows), time.perf_counter()
    torch.cuda._sleep(4_000_000_000)  # two seconds
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = scorer.launch(rows[::-1])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_array_equal(scorer.collect(first), expected)
    assert time.perf_counter() - started < 1.0
    np.testing.assert_allclose(scorer.collect(second)[::-1], expected, atol=2e-2, rtol=2e-2)
    assert time.perf_counter() - started > 1.0, "the device slept"
