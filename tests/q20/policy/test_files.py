"""A saved policy comes back as it was, and a damaged one says what is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from kaggle_utils.q20.policy.channel import AnswerChannel  # noqa: E402
from kaggle_utils.q20.policy.files import SavedPolicy, load_policy, save_policy  # noqa: E402
from kaggle_utils.q20.policy.hu2018 import PaperPolicy, PaperTable  # noqa: E402
from kaggle_utils.q20.policy.residual import ResidualPolicy  # noqa: E402

THETA = np.random.default_rng(0).random((6, 9)).astype(np.float32)
NAMES = {"objects": [f"thing {i}" for i in range(6)], "questions": [f"Is it {i}?" for i in range(9)]}
ASKED = torch.zeros(1, 9, dtype=torch.bool)


def residual() -> ResidualPolicy:
    channel = AnswerChannel(*(np.linspace(0.01, 0.3, 9, dtype=np.float32) for _ in range(3)))
    policy = ResidualPolicy(THETA, prior=np.arange(1, 7), channel=channel, rank=3, seed=4, beta=12.5)
    policy.bias += torch.randn(9)
    policy.weight += torch.randn(3, 9)
    return policy


def test_a_residual_policy_comes_back(tmp_path):
    policy = residual()
    folder = save_policy(policy, tmp_path / "new" / "policy", **NAMES)
    assert sorted(path.name for path in folder.iterdir()) == ["policy.json", "policy.safetensors"]
    saved = load_policy(folder)
    assert saved.objects == tuple(NAMES["objects"])
    assert saved.questions == tuple(NAMES["questions"])
    belief = policy.update(policy.begin(1), torch.tensor([2]), torch.tensor([1], dtype=torch.int8))
    again = saved.policy.update(saved.policy.begin(1), torch.tensor([2]), torch.tensor([1], dtype=torch.int8))
    assert torch.equal(belief, again)
    assert torch.equal(policy.scores(belief, ASKED), saved.policy.scores(belief, ASKED))


def test_a_paper_policy_comes_back(tmp_path):
    policy = PaperPolicy(PaperTable.from_theta(THETA), scale="objects", seed=3)
    saved = load_policy(save_policy(policy, tmp_path, **NAMES)).policy
    assert saved.scale == "objects"
    state = policy.begin(1)
    assert torch.equal(policy.log_policy(state, ASKED), saved.log_policy(saved.begin(1), ASKED))
    assert torch.equal(policy.values(state), saved.values(state))


def test_names_must_fit():
    with pytest.raises(ValueError, match=r"\(6, 9\).*\(1, 9\)"):
        SavedPolicy(residual(), ("one",), tuple(NAMES["questions"]))


def test_damage_is_named(tmp_path):
    folder = save_policy(residual(), tmp_path, **NAMES)
    header = json.loads((folder / "policy.json").read_text())
    for change, message in (({"version": 9}, "version 9"), ({"format": "x"}, "format"), ({"kind": "x"}, "kind 'x'")):
        (folder / "policy.json").write_text(json.dumps(header | change))
        with pytest.raises(ValueError, match=message):
            load_policy(folder)
    (folder / "policy.json").write_text(json.dumps(header))
    content = bytearray((folder / "policy.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "policy.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="damaged or of another save"):
        load_policy(folder)
    (folder / "policy.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        load_policy(folder)
    (folder / "policy.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"policy\.safetensors missing"):
        load_policy(folder)
