"""Folders, secrets and accelerators on a Kaggle that is built in a temporary folder."""

import dataclasses
import os
import subprocess
import sys
import threading
import traceback
import types
from pathlib import Path

import pytest

from kaggle_utils import environment
from kaggle_utils.environment import (
    Accelerator,
    accelerators,
    agent_dir,
    input_dir,
    scratch_dir,
    secret,
    where,
    working_dir,
)


@pytest.fixture(autouse=True)
def kaggle(tmp_path, monkeypatch):
    """No Kaggle at all, unless a test makes these folders."""
    for name in list(os.environ):
        if name.startswith(("KAGGLE_", "CUDA_VISIBLE")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(environment, "_KAGGLE", tmp_path / "kaggle")
    monkeypatch.setattr(environment, "_SIMULATION", tmp_path / "kaggle_simulations" / "agent")
    return tmp_path / "kaggle"


def folders(base, *names):
    for name in names:
        (base / name).mkdir(parents=True)
        (base / name / "config.json").write_text("{}")


@pytest.fixture
def older(kaggle):
    base = kaggle / "input"
    folders(
        base, "gemma/transformers/2b-it/1", "gemma/transformers/9b-it/2", "llm-20-questions", "my-wheels/torch/cp311"
    )
    return base


@pytest.fixture
def newer(kaggle):
    base = kaggle / "input"
    folders(
        base,
        "models/google/gemma/transformers/2b-it/1",
        "models/someone/gemma-tuned/pytorch/default/3",
        "datasets/ann/words",
        "datasets/bob/words",
        "datasets/bob/wheels",
        "competitions/llm-20-questions",
        "notebooks/ann/training",
    )
    return base


# where


def test_where(kaggle, monkeypatch):
    assert where() == "elsewhere"
    (kaggle / "working").mkdir(parents=True)
    assert where() == "notebook"
    environment._SIMULATION.mkdir(parents=True)
    assert where() == "agent", "the agents' image has /kaggle/working too"
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    assert where() == "notebook", "a notebook may make the agent's folder to try things out"


# input_dir


def test_inputs_of_the_older_layout(older):
    assert input_dir() == older
    for name in ("gemma/transformers/2b-it/1", "llm-20-questions", "my-wheels/torch"):
        assert input_dir(name) == older / name
    assert input_dir("/kaggle/input/gemma/transformers/2b-it/1/") == older / "gemma/transformers/2b-it/1"
    assert input_dir("bob/my-wheels") == older / "my-wheels", "the older layout has no owners"


def test_inputs_of_the_newer_layout(newer):
    assert input_dir("gemma/transformers/2b-it/1") == newer / "models/google/gemma/transformers/2b-it/1"
    assert input_dir("google/gemma/transformers/2b-it/1") == newer / "models/google/gemma/transformers/2b-it/1"
    assert input_dir("wheels") == newer / "datasets/bob/wheels"
    assert input_dir("ann/words") == newer / "datasets/ann/words"
    assert input_dir("llm-20-questions") == newer / "competitions/llm-20-questions"
    assert input_dir("training") == newer / "notebooks/ann/training"
    assert input_dir("models/google/gemma") == newer / "models/google/gemma"


def test_two_owners_of_one_name(newer):
    with pytest.raises(ValueError, match=r"datasets/ann/words, datasets/bob/words; add the owner, like 'ann/words'"):
        input_dir("words")


def test_missing_input_lists_what_is_attached_and_the_nearest(older):
    with pytest.raises(FileNotFoundError) as raised:
        input_dir("gemma/transformers/2b-it/3")
    message = str(raised.value)
    listed = message[message.index("attached there:") : message.index("nearest:")]
    assert [line.strip(" -") for line in listed.splitlines()[1:]] == [
        "gemma/transformers/2b-it/1",
        "gemma/transformers/9b-it/2",
        "llm-20-questions",
        "my-wheels",
    ]
    assert "nearest: gemma/transformers/2b-it/1" in message
    assert '"Add Input"' in message


def test_missing_input_of_the_newer_layout(newer):
    with pytest.raises(FileNotFoundError) as raised:
        input_dir("gemma/transformers/2b-it/2")
    message = str(raised.value)
    for name in ("google/gemma/transformers/2b-it/1", "bob/wheels", "llm-20-questions", "ann/training"):
        assert f"  - {name}\n" in message
        assert input_dir(name).is_dir(), "every name in the list is one that works"
    assert "nearest: google/gemma/transformers/2b-it/1" in message


def test_a_long_list_is_cut(kaggle):
    folders(kaggle / "input", *(f"set-{n:03}" for n in range(60)))
    with pytest.raises(FileNotFoundError, match=r"and 20 more"):
        input_dir("other")


def test_no_input_folder_says_what_to_set():
    with pytest.raises(FileNotFoundError, match="KAGGLE_UTILS_INPUT_DIR"):
        input_dir("gemma")


def test_nothing_attached(kaggle):
    (kaggle / "input").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"\(nothing\)"):
        input_dir("gemma")


@pytest.mark.parametrize("name", ["", " ", "/", "../working", "gemma/../../secrets", "/etc"])
def test_names_that_lead_elsewhere(older, name):
    with pytest.raises(ValueError, match="is no name of an input"):
        input_dir(name)


def test_input_override(tmp_path, monkeypatch):
    folders(tmp_path / "fixtures", "words")
    monkeypatch.setenv("KAGGLE_UTILS_INPUT_DIR", str(tmp_path / "fixtures"))
    assert input_dir("words") == tmp_path / "fixtures" / "words"
    with pytest.raises(FileNotFoundError, match="KAGGLE_UTILS_INPUT_DIR is set"):
        input_dir("other")


# working_dir, scratch_dir


def test_working_dir(kaggle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert working_dir() == tmp_path
    (kaggle / "working").mkdir(parents=True)
    assert working_dir() == kaggle / "working"
    monkeypatch.setenv("KAGGLE_UTILS_WORKING_DIR", "results")
    assert working_dir() == tmp_path / "results"
    assert (tmp_path / "results").is_dir()


def test_scratch_in_a_notebook_is_outside_working(kaggle):
    (kaggle / "working").mkdir(parents=True)
    assert scratch_dir() == kaggle / "temp"
    assert (kaggle / "temp").is_dir()


def test_scratch_leaves_a_temporary_folder_that_is_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("KAGGLE_UTILS_WORKING_DIR", str(elsewhere))
    assert scratch_dir().parent == tmp_path
    monkeypatch.setenv("KAGGLE_UTILS_WORKING_DIR", str(tmp_path))
    found = scratch_dir()
    assert not found.is_relative_to(tmp_path)
    assert found.is_dir()


def test_scratch_override_inside_working_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_UTILS_WORKING_DIR", str(tmp_path / "w"))
    monkeypatch.setenv("KAGGLE_UTILS_SCRATCH_DIR", str(tmp_path / "w" / ".." / "w" / "scratch"))
    with pytest.raises(ValueError, match="inside the working folder"):
        scratch_dir()
    monkeypatch.setenv("KAGGLE_UTILS_SCRATCH_DIR", str(tmp_path / "s"))
    assert scratch_dir() == tmp_path / "s"
    assert (tmp_path / "s").is_dir()


# agent_dir


def load_as_kaggle(path, source):
    """How kaggle_environments loads an agent: exec without __file__, the last callable is the agent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    scope = {}
    exec(compile(source, str(path), "exec"), scope)
    return scope, [value for value in scope.values() if callable(value)][-1]


MAIN = """
from kaggle_utils.environment import agent_dir
assert "__file__" not in globals()
at_load = agent_dir()
def agent(obs, cfg):
    return agent_dir()
"""


def test_agent_dir_without_dunder_file(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    scope, agent = load_as_kaggle(tmp_path / "seat" / "main.py", MAIN)
    assert scope["at_load"] == agent(None, None) == tmp_path / "seat"


def test_agent_dir_of_a_relative_main(tmp_path, monkeypatch):
    (tmp_path / "main.py").write_text(MAIN)
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(compile(MAIN, "main.py", "exec"), scope)
    assert scope["at_load"] == tmp_path


def test_agent_dir_from_a_helper_and_through_the_environments_own_main(tmp_path):
    """kaggle_environments has a main.py too: it stands further out on the stack, and is in a package."""
    server = tmp_path / "kaggle_environments" / "main.py"
    server.parent.mkdir()
    server.write_text("def serve(run): return run()")
    scope = {"__package__": "kaggle_environments"}
    exec(compile(server.read_text(), str(server), "exec"), scope)
    _, agent = load_as_kaggle(tmp_path / "seat" / "main.py", MAIN)
    assert scope["serve"](lambda: agent(None, None)) == tmp_path / "seat"
    with pytest.raises(FileNotFoundError, match="KAGGLE_UTILS_AGENT_DIR"):
        scope["serve"](agent_dir)


def test_agent_dir_in_a_thread_of_its_own(tmp_path):
    environment._SIMULATION.mkdir(parents=True)
    found = []
    thread = threading.Thread(target=lambda: found.append(agent_dir()))
    thread.start()
    thread.join()
    assert found == [environment._SIMULATION]


def test_agent_dir_override(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_UTILS_AGENT_DIR", str(tmp_path / "a"))
    _, agent = load_as_kaggle(tmp_path / "seat" / "main.py", MAIN)
    assert agent(None, None) == tmp_path / "a"


# secret


@pytest.fixture
def kaggle_secrets(monkeypatch):
    """A stand-in for the module that only Kaggle has."""
    values = {}

    class UserSecretsClient:
        def get_secret(self, name):
            value = values[name]
            if isinstance(value, Exception):
                raise value
            return value

    module = types.SimpleNamespace(UserSecretsClient=UserSecretsClient)
    monkeypatch.setitem(sys.modules, "kaggle_secrets", module)
    return values


def test_secret_from_the_environment(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_value\n")
    assert secret("HF_TOKEN") == "hf_value", "a newline would show the value in an HTTP library's error"


def test_kaggles_secret_comes_first(kaggle_secrets, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "from-environment")
    kaggle_secrets["HF_TOKEN"] = "from-kaggle"
    assert secret("HF_TOKEN") == "from-kaggle"
    kaggle_secrets["HF_TOKEN"] = ""
    assert secret("HF_TOKEN") == "from-environment"


def test_missing_secret_says_where_to_add_it(kaggle_secrets, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(LookupError, match=r"'HF_TOKEN' is missing.*KeyError.*Add-ons.*Secrets.*environment variable"):
        secret("HF_TOKEN")


def test_no_exception_chain_shows_a_value(kaggle_secrets, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    kaggle_secrets["HF_TOKEN"] = ConnectionError("GET ... Authorization: hf_very_secret")
    with pytest.raises(LookupError) as raised:
        secret("HF_TOKEN")
    shown = "".join(traceback.format_exception(raised.value))
    assert "hf_very_secret" not in shown
    assert "ConnectionError" in shown
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


def test_missing_secret_outside_kaggle(monkeypatch):
    monkeypatch.setitem(sys.modules, "kaggle_secrets", None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(LookupError, match="no Kaggle notebook"):
        secret("HF_TOKEN")


# accelerators


def fake_torch(monkeypatch, *devices, available=True):
    cuda = types.SimpleNamespace(
        is_available=lambda: available, device_count=lambda: len(devices), get_device_properties=lambda i: devices[i]
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))


def test_a_t4_has_no_bf16_and_an_l4_does(monkeypatch):
    t4 = types.SimpleNamespace(name="Tesla T4", total_memory=15 * 2**30, major=7, minor=5)
    l4 = types.SimpleNamespace(name="NVIDIA L4", total_memory=22 * 2**30, major=8, minor=9)
    fake_torch(monkeypatch, t4, l4)
    first, second = accelerators()
    assert first == Accelerator(0, "Tesla T4", 15 * 2**30, (7, 5), bf16=False)
    assert second == Accelerator(1, "NVIDIA L4", 22 * 2**30, (8, 9), bf16=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.bf16 = True


def test_torch_without_a_gpu(monkeypatch):
    fake_torch(monkeypatch, available=False)
    assert accelerators() == []


def nvidia_smi(folder, monkeypatch, body):
    """torch is absent, and this is the only nvidia-smi."""
    monkeypatch.setitem(sys.modules, "torch", None)
    path = folder / "nvidia-smi"
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


TWO = "print('Tesla T4, 15360, 7.5\\nNVIDIA H100 80GB HBM3, 81559, 9.0')"


def test_nvidia_smi_where_torch_is_absent(tmp_path, monkeypatch):
    nvidia_smi(tmp_path, monkeypatch, TWO)
    assert accelerators() == [
        Accelerator(0, "Tesla T4", 15360 * 2**20, (7, 5), bf16=False),
        Accelerator(1, "NVIDIA H100 80GB HBM3", 81559 * 2**20, (9, 0), bf16=True),
    ]


@pytest.mark.parametrize(
    "visible, names",
    [("1", ["NVIDIA H100 80GB HBM3"]), ("", []), ("-1", []), ("0,7,1", ["Tesla T4"]), ("GPU-abc", None)],
)
def test_only_visible_devices_count(tmp_path, monkeypatch, visible, names):
    nvidia_smi(tmp_path, monkeypatch, TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = accelerators()
    assert [a.index for a in found] == list(range(len(found)))
    assert [a.name for a in found] == (["Tesla T4", "NVIDIA H100 80GB HBM3"] if names is None else names)


@pytest.mark.parametrize(
    "body", ["raise SystemExit(9)", "print('NVIDIA-SMI has failed')", "print('GPU, [N/A], [N/A]')"]
)
def test_a_broken_driver_is_no_accelerator(tmp_path, monkeypatch, body):
    nvidia_smi(tmp_path, monkeypatch, body)
    assert accelerators() == []


def test_neither_torch_nor_nvidia_smi(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert accelerators() == []


def test_a_broken_torch_shows_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("import a_library_that_is_missing")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_missing"):
        accelerators()


@pytest.mark.gpu
def test_real_gpu_is_the_same_through_torch_and_nvidia_smi():
    code = "import sys; sys.modules['torch'] = None; from kaggle_utils.environment import accelerators as a; print(a())"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for found in accelerators():
        assert found.name in asked
        assert str(found.capability) in asked


def test_scratch_dir_works_where_the_current_folder_is_the_root(monkeypatch):
    """Containers start in /, and every folder lies inside it."""
    monkeypatch.delenv("KAGGLE_UTILS_SCRATCH_DIR", raising=False)
    monkeypatch.delenv("KAGGLE_UTILS_WORKING_DIR", raising=False)
    monkeypatch.chdir("/")
    assert environment.scratch_dir().is_dir()
