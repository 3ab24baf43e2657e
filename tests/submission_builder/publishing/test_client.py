"""The client is a process of its own: what it prints is shown, its secrets are not, its credentials are its own."""

import ast
import sys
from pathlib import Path

import pytest

import submission_builder.publishing
from submission_builder.publishing.client import KaggleClient, find_client, redact

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "text",
    [f"KAGGLE_KEY={SECRET}", f'{{"username": "ada", "key": "{SECRET}"}}', f"token: {SECRET}",
     f"https://x/upload?upload_id={SECRET}&b=1", f"Authorization: Bearer {SECRET}", f"KGAT_{SECRET}",
     f"Authorization: Basic {SECRET}", f"X-Goog-Signature={SECRET}"],
)  # fmt: skip
def test_secrets_are_blotted_out(text):
    assert SECRET not in redact(text)
    assert "[hidden]" in redact(text)


@pytest.mark.parametrize(
    "text", ["Upload successful: tokenizer.json (2MB)", "Kernel version 1 successfully pushed.", "50%|##"]
)
def test_other_words_stay(text):
    assert redact(text) == text


def run(code, echo=None):
    return KaggleClient((sys.executable, "-IS", "-c", code), echo).run("x")


def test_lines_come_while_it_runs_and_are_redacted():
    seen = []
    words = f"half\\rwhole\\r\\n 50%|##  |\\r100%|####|\\nkey={SECRET}\\n"
    reply = run(f"import sys; sys.stdout.write('{words}'); sys.stderr.write('é'); sys.exit(3)", seen.append)
    assert sorted(reply.lines) == sorted(["half", "whole", "key=[hidden]", "é"])
    assert set(seen) == {*reply.lines, " 50%|##  |", "100%|####|"}, "progress is shown and not kept"
    assert reply.status == 3


def test_a_question_is_answered_by_nobody():
    assert "EOFError" in run("input('Password: ')").text


def test_the_client_is_ended_with_us():
    def interrupted(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("import time; print('x', flush=True); time.sleep(60)", interrupted)


def test_without_a_client_the_error_says_what_to_install(monkeypatch, tmp_path):
    (tmp_path / "kaggle").mkdir()  # a folder of that name is no client
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "kaggle", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install kaggle"):
        find_client()


def test_no_credential_is_read_anywhere():
    """No variable of the environment, no file in a home folder: the code that sends things names none."""
    for path in Path(submission_builder.publishing.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not names & {"environ", "getenv", "expanduser", "home"}, path.name
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert not [text for text in texts if "KAGGLE_KEY" in text or ".kaggle/" in text or "access_token" in text], (
            path.name
        )
