"""Tasks to output.jsonl: order, resuming after SIGKILL, deadlines, and what the store may be asked again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import pytest

from kaggle_utils.chat.generator import GenerationSettings
from kaggle_utils.inference.answer_store import AnswerStore, AnswerStoreError
from kaggle_utils.inference.answering import answer_tasks, answering_fingerprint
from kaggle_utils.inference.answers import Task
from kaggle_utils.inference.decoding_row import Generated

TASKS = [Task(i if i % 2 else str(i), f"質問 {i}", examples=(("q", "a"),)) for i in range(7)]


class Echo:
    """A generator that tells of each row when it is over, shortest first, and counts."""

    def __init__(self, unfinished=()):
        self.asked, self.unfinished = [], unfinished

    def generate_each(self, conversations, settings, *, on_done, **_):
        for i in reversed(range(len(conversations))):
            text = conversations[i][-1].content
            self.asked.append(text)
            finish = "deadline" if text in self.unfinished else "stop"
            on_done(i, Generated(f"«{text}»", 5, 3, 0.1, finish))


class Plain:
    """A generator of the protocol alone."""

    def __init__(self, seconds=0.0):
        self.asked, self.seconds = [], seconds

    def generate(self, conversations, settings=None):
        time.sleep(self.seconds)
        self.asked += [c[-1].content for c in conversations]
        return [c[-1].content[: settings.max_new_tokens] for c in conversations]

    def yes_no(self, conversations):
        return [0.5] * len(conversations)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_stand_in_the_order_of_the_tasks(tmp_path):
    answers = answer_tasks(TASKS, Echo(), output=tmp_path / "new" / "output.jsonl")
    assert lines(answers.path) == [{"task_id": t.task_id, "output": f"«{t.input}»"} for t in TASKS]
    one = answers[3]
    assert (one.input, one.examples, one.output_tokens, one.finish_reason) == ("質問 3", (("q", "a"),), 3, "stop")
    assert "質問" in answers.path.read_text(encoding="utf-8") and [p.name for p in answers.path.parent.iterdir()] == [
        "output.jsonl"
    ]


def test_what_a_deadline_cut_off_has_a_line_and_is_computed_again(tmp_path):
    store = tmp_path / "answers.sqlite"
    first = answer_tasks(TASKS, Echo(["質問 2", "質問 5"]), output=tmp_path / "o.jsonl", store=store)
    assert first.unfinished == ["2", 5] and len(lines(first.path)) == 7
    assert "unfinished" in first.report() and "2, 5" in first.report()
    again = Echo()
    second = answer_tasks(TASKS, again, output=tmp_path / "o.jsonl", store=store)
    assert sorted(again.asked) == ["質問 2", "質問 5"] and second.reused == 5 and second.unfinished == []


def test_other_settings_prompts_or_limits_are_other_answers(tmp_path):
    store = tmp_path / "answers.sqlite"
    answer_tasks(TASKS[:2], Echo(), output=None, store=store)
    for tasks, settings in (
        (TASKS[:2], GenerationSettings(repetition_penalty=1.2)),
        ([Task(t.task_id, t.conversation + "!") for t in TASKS[:2]], None),
        ([Task(t.task_id, t.conversation, max_new_tokens=3) for t in TASKS[:2]], None),
    ):
        other = Echo()
        answer_tasks(tasks, other, output=None, store=store, settings=settings)
        assert len(other.asked) == 2
    same = Echo()
    answer_tasks(TASKS[:2], same, output=None, store=store, settings=GenerationSettings(time_limit=9.0))
    assert same.asked == []


def test_any_text_generator_serves_in_chunks_with_limits_of_their_own(tmp_path):
    plain = Plain()
    tasks = [Task(0, "abcdef", max_new_tokens=2), Task(1, "ghijkl"), Task(2, "mnopqr", max_new_tokens=2)]
    answers = answer_tasks(tasks, plain, output=None, settings=GenerationSettings(max_new_tokens=4), chunk=2)
    assert [a.output for a in answers] == ["ab", "ghij", "mn"]


def test_the_deadline_of_a_plain_generator_leaves_the_rest_empty(tmp_path):
    answers = answer_tasks(TASKS, Plain(0.15), output=tmp_path / "o.jsonl", deadline=0.2, chunk=1)
    assert [row["output"] for row in lines(answers.path)][2:] == [""] * 5
    assert set(answers.unfinished) >= {t.task_id for t in TASKS[2:]} and 0 not in answers.unfinished


def test_ids_that_occur_twice_are_named():
    with pytest.raises(ValueError, match="7"):
        answer_tasks([Task(7, "a"), Task(7, "b")], Echo(), output=None)
    assert len(answer_tasks([Task(7, "a"), Task("7", "b")], Echo(), output=None)) == 2


def test_a_file_that_is_no_store_says_what_to_do(tmp_path):
    (tmp_path / "s").write_bytes(b"not a database at all" * 100)
    with pytest.raises(AnswerStoreError, match="delete it"):
        AnswerStore(tmp_path / "s", "run")


CHILD = """
import sys, time
from kaggle_utils.inference.answering import answer_tasks, answering_fingerprint
from kaggle_utils.inference.answers import Task
from kaggle_utils.inference.decoding_row import Generated

class Slow:
    def generate_each(self, conversations, settings, *, on_done, **_):
        for i, conversation in enumerate(conversations):
            print(conversation[-1].content, flush=True)
            time.sleep(0.02)
            on_done(i, Generated("answer " + conversation[-1].content, 1, 1, 0.0, "stop"))

answer_tasks([Task(i, str(i)) for i in range(60)], Slow(), output=sys.argv[1], store=sys.argv[2])
"""


def test_killed_at_any_point_it_goes_on_without_loss_or_repetition(tmp_path, root):
    output, asked = tmp_path / "output.jsonl", []
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(output), str(tmp_path / "s.sqlite")]
    for kill_after in (5, 17, None):
        child = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
        for line in child.stdout:
            asked.append(int(line))
            if kill_after is not None and len(asked) >= kill_after:
                child.send_signal(signal.SIGKILL)
                break
        asked += [int(line) for line in child.stdout]
        child.stdout.close()
        child.wait()
        if kill_after is not None:
            assert not output.exists()
    assert [row["output"] for row in lines(output)] == [f"answer {i}" for i in range(60)]
    assert len(asked) <= 62, "only the task at work when the kill came may be computed again"


def test_two_adapters_on_one_base_share_no_answers():
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    shape = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
             "num_attention_heads": 2}  # fmt: skip
    config = transformers.LlamaConfig(**shape)
    names = []
    for base, adapter in ((0, 1), (0, 1), (0, 2)):
        torch.manual_seed(base)
        model = transformers.LlamaForCausalLM(config)
        torch.manual_seed(adapter)
        model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
        names.append(answering_fingerprint(SimpleNamespace(model=model), GenerationSettings()))
    assert names[0] == names[1] != names[2]
