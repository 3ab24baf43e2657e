"""choose_dtype: an emulated bfloat16 on a T4 would cost ten times the speed, a half type on a CPU more."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from kaggle_utils.models.precision import choose_dtype  # noqa: E402


@pytest.fixture
def gpus(monkeypatch):
    """Pretend to have GPUs with the given compute capabilities."""

    def pretend(*capabilities):
        def capability(device=None):
            return capabilities[torch.device("cuda", device).index if isinstance(device, int) else 0]

        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(capabilities))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
        monkeypatch.setattr(torch.cuda, "get_device_capability", capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device}")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *a, **k: True)  # what a T4 answers

    return pretend


def test_cpu_gets_float32():
    dtype, reason = choose_dtype(device="cpu")
    assert dtype is torch.float32
    assert "CPU" in reason


def test_t4_gets_float16_although_torch_says_that_it_supports_bfloat16(gpus):
    gpus((7, 5))
    dtype, reason = choose_dtype(device="cuda:0")
    assert dtype is torch.float16
    assert "7.5" in reason and "no bfloat16" in reason


def test_ampere_gets_bfloat16(gpus):
    gpus((8, 0))
    assert choose_dtype(device="cuda")[0] is torch.bfloat16
    assert choose_dtype(device=0)[0] is torch.bfloat16


def test_the_weakest_of_all_visible_gpus_decides(gpus):
    gpus((9, 0), (7, 5))
    assert choose_dtype(device="cuda")[0] is torch.float16
    assert choose_dtype(device="cuda:0")[0] is torch.bfloat16


@pytest.mark.parametrize("name", ["bfloat16", "bf16", "torch.bfloat16", torch.bfloat16])
def test_an_explicit_dtype_is_kept(name):
    assert choose_dtype(name, device="cpu") == (torch.bfloat16, "asked for by the caller")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown dtype 'float8'.*bfloat16"):
        choose_dtype("float8", device="cpu")


def test_a_gpu_that_is_not_there_is_an_error_with_the_count(gpus):
    gpus((7, 5))
    with pytest.raises(ValueError, match="cuda:1 is not here: 1 GPUs are visible"):
        choose_dtype(device="cuda:1")
