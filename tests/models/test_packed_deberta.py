"""DeBERTa-v2 over packed rows against transformers' own layers."""

from __future__ import annotations

import copy
import functools

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from kaggle_utils.models import packed_deberta  # noqa: E402
from kaggle_utils.models.packed import PackedClassifier  # noqa: E402
from kaggle_utils.models.packed_deberta import pack_deberta, packable  # noqa: E402


def tiny(**changes):
    torch.manual_seed(0)
    config = transformers.DebertaV2Config(
        **{
            "vocab_size": 300, "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2,
            "intermediate_size": 192, "max_position_embeddings": 128, "relative_attention": True,
            "position_buckets": 32, "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"],
            "type_vocab_size": 0, "position_biased_input": False, "num_labels": 3, "initializer_range": 0.1,
        } | changes
    )  # fmt: skip
    return transformers.DebertaV2ForSequenceClassification(config)


def batch(lengths=(90, 7, 64, 1, 33), *, left=False, device="cpu"):
    torch.manual_seed(1)
    ids = torch.randint(5, 300, (len(lengths), max(lengths)), device=device)
    place = torch.arange(max(lengths), device=device)[None]
    sizes = torch.tensor(lengths, device=device)[:, None]
    mask = (place >= max(lengths) - sizes) if left else (place < sizes)
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


@pytest.mark.parametrize(
    "changes", [{}, {"share_att_key": False}, {"position_buckets": -1}, {"norm_rel_ebd": "none"},
                {"position_biased_input": True, "type_vocab_size": 2}, {"num_attention_heads": 1}],
)  # fmt: skip
def test_logits_and_gradients_equal_the_eager_model(changes):
    eager = tiny(**changes).eval()
    packed = pack_deberta(copy.deepcopy(eager))
    labels = torch.tensor([0, 1, 2, 0, 1])
    theirs, ours = (model(**batch(), labels=labels) for model in (eager, packed))
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-5, rtol=1e-5)
    theirs.loss.backward()
    ours.loss.backward()
    gradients = dict(eager.named_parameters())
    for name, parameter in packed.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, atol=1e-6, rtol=1e-4, msg=name)


def test_padding_on_the_left_and_rows_without_padding():
    eager = tiny().eval()
    packed = pack_deberta(copy.deepcopy(eager))
    for rows in (batch(left=True), batch((40, 40))):
        with torch.no_grad():
            theirs, ours = (model.deberta(**rows).last_hidden_state for model in (eager, packed))
        seen = rows["attention_mask"].bool()
        torch.testing.assert_close(ours[seen], theirs[seen], atol=1e-5, rtol=1e-5)


def test_lengths_that_come_with_the_batch_are_used_once_and_checked():
    packed = pack_deberta(pack_deberta(tiny())).eval()
    rows, lengths = batch(), [90, 7, 64, 1, 33]
    with torch.no_grad():
        wanted = packed(**rows).logits
        assert torch.equal(packed(**rows, lengths=lengths).logits, wanted)
        assert not torch.equal(packed(**rows, lengths=[90, 7, 64, 1, 20]).logits, wanted)  # they, not the mask, count
        assert torch.equal(packed(**rows).logits, wanted)
        for wrong in ([90, 7], [91, 7, 64, 1, 33]):
            with pytest.raises(ValueError, match="lengths are"):
                packed(**rows, lengths=wrong)


def test_a_copy_of_a_packed_model_is_one_of_its_own():
    packed = pack_deberta(tiny()).eval()
    copied, rows, lengths = copy.deepcopy(packed), batch(), [90, 7, 64, 1, 33]
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.mul_(1.5)
        wanted = packed(**rows).logits, copied(**rows).logits
        assert not torch.allclose(*wanted)
        assert torch.equal(copied(**rows, lengths=lengths).logits, wanted[1])
        assert torch.equal(packed(**rows).logits, wanted[0]), "the copy's lengths are not left in the original"


def test_padding_changes_nothing():
    packed = pack_deberta(tiny()).eval()
    rows = batch()
    wider = {name: torch.nn.functional.pad(tensor, (0, 60)) for name, tensor in rows.items()}
    with torch.no_grad():
        torch.testing.assert_close(packed(**wider).logits, packed(**rows).logits, atol=1e-6, rtol=1e-6)


def test_attention_weights_come_from_the_eager_layers():
    eager = tiny().eval()
    packed = pack_deberta(copy.deepcopy(eager))
    with torch.no_grad():
        theirs, ours = (model(**batch(), output_attentions=True) for model in (eager, packed))
    assert len(ours.attentions) == 3
    torch.testing.assert_close(ours.attentions[0], theirs.attentions[0])


def test_a_packed_model_is_saved_as_it_was(tmp_path):
    packed = pack_deberta(tiny()).eval()
    packed.save_pretrained(tmp_path)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(plain.deberta.encoder).forward is plain.deberta.encoder.forward.__func__
    with torch.no_grad():
        torch.testing.assert_close(plain(**batch()).logits, packed(**batch()).logits, atol=1e-5, rtol=1e-5)


def test_training_drops_and_checkpointing_repeats_what_was_dropped():
    packed = pack_deberta(tiny(hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2)).train()
    rows = batch()
    torch.manual_seed(3)
    first = packed(**rows).logits
    assert not torch.equal(first, packed(**rows).logits)
    first.sum().backward()
    wanted = {name: parameter.grad.clone() for name, parameter in packed.named_parameters()}
    packed.zero_grad()
    packed.gradient_checkpointing_enable()
    torch.manual_seed(3)
    again = packed(**rows).logits
    assert torch.equal(again, first)
    again.sum().backward()
    for name, parameter in packed.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], msg=name)


def step(model):
    """Logits and gradients of one training step under bfloat16 on the CPU."""
    labels = torch.tensor([0, 1, 2, 0, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(**batch(), labels=labels)
    found.loss.backward()
    return found.logits, {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("changes", [{}, {"share_att_key": False}])
def test_sixteen_bit_copies_of_the_weights_change_nothing_but_the_last_rounding(changes, monkeypatch):
    eager = tiny(**changes).eval()
    logits, gradients = step(pack_deberta(copy.deepcopy(eager)))
    monkeypatch.setattr(packed_deberta, "layer_weights", lambda layers, *_, **__: [None] * len(layers))
    wanted, theirs = step(pack_deberta(copy.deepcopy(eager)))
    assert torch.equal(logits, wanted)
    for name, gradient in gradients.items():
        assert (gradient - theirs[name]).norm() <= 0.01 * theirs[name].norm(), name


class Standing(torch.nn.Module):
    """A wrapper that gives what is asked of the module in it, as those for checkpointing do."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


@pytest.mark.parametrize("path", ["attention", "attention.self", "output"])
def test_a_module_in_a_wrapper_is_not_looked_through(path):
    wrapped = pack_deberta(tiny()).eval()
    wanted, gradients = step(copy.deepcopy(wrapped))
    layer = wrapped.deberta.encoder.layer[1]
    layer.set_submodule(path, Standing(layer.get_submodule(path)))
    logits, found = step(wrapped)
    torch.testing.assert_close(logits, wanted, atol=2e-2, rtol=2e-2)
    for name, gradient in found.items():
        theirs = gradients[name.replace(".inner", "")]
        assert (gradient - theirs).norm() <= 0.02 * theirs.norm(), name


def test_six_layers_are_one_graph_for_the_compiler(monkeypatch):
    """A break in it would cost a millisecond a layer, both ways, and nothing else would show it."""
    graphs, numbers = [], []

    def eager_backend(graph, inputs):
        graphs.append(sum(node.target is torch.nn.functional.linear for node in graph.graph.nodes))
        numbers.extend(value for value in inputs if isinstance(value, torch.Tensor) and not value.dim())
        return graph.forward

    attend = lambda projected, tables, starts, *_: projected.sum(1) + tables.sum() + starts[0]  # noqa: E731
    compiled = functools.partial(torch.compile, backend=eager_backend, fullgraph=True)
    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(packed_deberta, "choose_disentangled_attention", lambda *_, **__: attend)
    step(pack_deberta(tiny(num_hidden_layers=7), compile=True).train())
    assert graphs == [6 * 5, 5]  # five products a layer: one more would be a weight that was not copied
    assert not numbers, "a share of dropout or an epsilon is handed over as a tensor"


@pytest.mark.parametrize(
    ("changes", "reason"), [({"conv_kernel_size": 3}, "convolution"), ({"pos_att_type": ["c2p"]}, "only c2p and p2c")]
)
def test_what_is_not_covered_stays_padded_and_is_told(changes, reason, caplog):
    eager = tiny(**changes).eval()
    packed = pack_deberta(copy.deepcopy(eager))
    assert reason in caplog.text
    with torch.no_grad():
        assert torch.equal(packed(**batch()).logits, eager(**batch()).logits)


def test_other_models_and_settings_are_refused():
    with pytest.raises(ValueError, match="compile is 'yes'"):
        pack_deberta(tiny(), compile="yes")
    with pytest.raises(ValueError, match="Linear has no DebertaV2Encoder"):
        pack_deberta(torch.nn.Linear(2, 2))


def test_time_grows_with_the_tokens_not_with_the_longest_row_squared():
    """One long row beside many short ones: the eager model computes the square for each of them."""
    packed = pack_deberta(tiny()).eval()
    totals = []
    for lengths in ((120,) + (8,) * 31, (8,) * 31):
        with torch.no_grad(), FlopCounterMode(display=False) as counted:
            packed.deberta.encoder(torch.zeros(len(lengths), max(lengths), 128), batch(lengths)["attention_mask"])
        totals.append(counted.get_total_flops())
    alone = (120 + 8 * 31) / (8 * 31)
    assert totals[0] / totals[1] < 2.5 * alone  # 32 rows of 120 would be 10 times as much


def test_the_engine_scores_deberta_over_packed_rows():
    eager = tiny().eval()
    rows = batch()
    with torch.no_grad():
        wanted = eager(**rows).logits
    scorer = PackedClassifier(copy.deepcopy(eager), compile=False)
    assert "forward" in vars(scorer.model.deberta.encoder)
    kept = [ids[mask.bool()].numpy() for ids, mask in zip(rows["input_ids"], rows["attention_mask"], strict=True)]
    torch.testing.assert_close(torch.from_numpy(scorer.score(kept)), wanted, atol=1e-5, rtol=1e-5)
    assert not packable(tiny(conv_kernel_size=3)) and packable(eager)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("compile", [False, True])
def test_autocast_on_a_gpu_is_near_the_exact_model(dtype, compile):
    eager = tiny().eval().cuda()
    packed = pack_deberta(copy.deepcopy(eager), compile=compile)
    rows, labels = batch(device="cuda"), torch.tensor([0, 1, 2, 0, 1], device="cuda")
    theirs = eager(**rows, labels=labels)
    with torch.autocast("cuda", dtype=dtype):
        ours = packed(**rows, labels=labels)
        half = eager(**rows)
    noise = (half.logits.float() - theirs.logits).abs().max().item()
    assert (ours.logits.float() - theirs.logits).abs().max().item() < max(4 * noise, 0.02)
    theirs.loss.backward()
    ours.loss.backward()
    gradients = dict(eager.named_parameters())
    for name, parameter in packed.named_parameters():
        wanted = gradients[name].grad
        error = (parameter.grad - wanted).norm() / wanted.norm().clamp_min(1e-4)
        assert error < 0.1, f"{name}: {error:.3f}"
