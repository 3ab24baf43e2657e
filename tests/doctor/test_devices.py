"""The probe's process may crash, hang or find nothing: each is a finding, and cards are judged by their capability."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from kaggle_utils.doctor import devices
from kaggle_utils.doctor import probe as probe_program
from kaggle_utils.doctor.devices import Probe, device_findings, probe_devices
from kaggle_utils.doctor.probe import MARK

TORCH = {"version": "2.10.0+cu128", "cuda": "12.8", "built_for": ["sm_75"], "triton": True, "flex": True, "seconds": 5}


def card(name, capability, **more):
    return {"name": name, "memory": 16 << 30, "capability": capability, "computes": True, **more}


def program(*lines, end=""):
    said = "".join(f"print({MARK + json.dumps(line)!r}, flush=True)\n" for line in lines)
    return f"import os, time\nprint('noise', flush=True)\n{said}{end}"


def found(probe):
    return {finding.what: finding for finding in device_findings(probe)}


@pytest.mark.parametrize(
    ("end", "how"),
    [("os.kill(os.getpid(), 11)", "killed by signal 11"), ("time.sleep(60)", "did not end within 0.5 s")],
    ids=["crash", "hang"],
)
def test_bitsandbytes_that_crashes_or_hangs_is_a_finding(end, how):
    said = [{"begin": "torch"}, {"end": "torch", **TORCH}, {"begin": "bitsandbytes on cpu"}]
    probe = probe_devices(timeout=0.5, source=program(*said, end=end))
    findings = found(probe)
    assert findings["torch"].value.startswith("2.10.0")
    assert how in findings["bitsandbytes on cpu"].value and findings["bitsandbytes on cpu"].level == "note"
    assert how in (probe.bitsandbytes_error() or "")


def test_a_process_that_says_nothing_is_a_finding():
    probe = probe_devices(source="raise SystemExit(3)")
    assert "status 3" in found(probe)["torch"].value and "not tried" in (probe.bitsandbytes_error() or "")


def test_without_torch_the_driver_is_asked(monkeypatch):
    monkeypatch.setattr(devices, "accelerators", lambda: [devices.Accelerator(0, "Tesla T4", 15 << 30, (7, 5), False)])
    probe = Probe({"torch": {"error": "ModuleNotFoundError: No module named 'torch'"}})
    findings = found(probe)
    assert "Tesla T4, 15.0 GiB" in findings["cuda:0"].value and findings["cuda:0 bfloat16"].value == "no"


def test_cards_are_judged_by_what_they_do_in_hardware():
    stages = {"torch": TORCH, "cuda:0": card("Tesla T4", [7, 5]), "cuda:1": card("H100", [9, 0])}
    findings = found(Probe({**stages, "bitsandbytes on cuda:0": {"relative_error": 0.09, "seconds": 0.1}}))
    abilities = ("bfloat16", "flex attention", "fp8")
    assert [findings[f"cuda:0 {what}"].level for what in abilities] == ["note"] * 3
    assert all(findings[f"cuda:0 {what}"].remedy for what in abilities)
    assert [findings[f"cuda:1 {what}"].level for what in abilities] == ["ok"] * 3
    assert findings["bitsandbytes on cuda:0"].value == "works: NF4 product 9% off, 0.1 s"


def test_a_card_that_this_torch_has_no_kernels_for():
    stages = {"torch": TORCH, "cuda:0": card("Tesla P100", [6, 0], computes=False, error_of_product="no kernel image")}
    finding = found(Probe(stages))["cuda:0 computes"]
    assert finding.value == "no kernel image" and "sm_75" in finding.remedy


def test_flex_attention_says_what_it_needs():
    torch = {**TORCH, "triton": False, "flex": False}
    value = found(Probe({"torch": torch, "cuda:0": card("A100", [8, 0])}))["cuda:0 flex attention"].value
    assert value.startswith("no: it needs torch 2.5, triton")


def test_the_probe_is_a_program_of_its_own(root):
    """Its source runs in a process that has neither torch nor this package."""
    source = (root / "kaggle_utils" / "doctor" / "probe.py").read_text(encoding="utf-8")
    blocked = "import sys\nsys.modules.update(torch=None, kaggle_utils=None)\n"
    probe = probe_devices(source=source.replace("import importlib.util", f"{blocked}import importlib.util", 1))
    assert list(probe.stages) == ["torch"] and "import of torch halted" in probe.torch["error"], probe.stages


def test_the_real_probe_here(capsys):
    """Real torch, and a real product with a layer quantised to NF4; in this process, which has imported them anyway."""
    for module in ("torch", "bitsandbytes"):
        pytest.importorskip(module)
    probe_program.main()
    probe = Probe(devices._stages(capsys.readouterr().out, "ended"))
    assert probe.torch["version"] and probe.bitsandbytes_error() is None, probe.stages
    errors = [facts["relative_error"] for name, facts in probe.stages.items() if name.startswith("bitsandbytes")]
    assert len(errors) == max(1, len(probe.gpus())) and all(0.05 < error < 0.15 for error in errors), probe.stages


@pytest.mark.parametrize("kernels", [True, False], ids=["T4", "a card without kernels"])
def test_what_the_probe_asks_of_a_card(kernels):
    """No GPU is in the tests' machines: torch's calls are played."""

    def ones(*size, device):
        if not kernels:
            raise RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")
        return np.ones(size)

    properties = SimpleNamespace(name="Tesla T4", total_memory=15 << 30, major=7, minor=5)
    cuda = SimpleNamespace(
        get_device_properties=lambda index: properties, mem_get_info=lambda index: (14 << 30, 15 << 30)
    )
    facts, _ = probe_program._gpu(SimpleNamespace(cuda=cuda, ones=ones), 0)
    assert facts["capability"] == [7, 5] and facts["computes"] is kernels
    assert kernels or "no kernel image is available for" in facts["error_of_product"]


def test_a_product_that_is_far_off_is_found(capsys, monkeypatch):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(bitsandbytes, "matmul_4bit", lambda rows, packed, quant_state: 2 * rows)
    probe_program.main()
    assert "% off" in (Probe(devices._stages(capsys.readouterr().out, "ended")).bitsandbytes_error() or "")
