"""Replies to 100 prompts: the original's one-by-one ``model.generate`` against ours, on the same weights.

Random weights at the shape of Gemma-2-9B in bfloat16, 100 prompts of 200 to 3,000 tokens (lengths evenly spaced, order
random), 256 new tokens each, no end token on either side. One-by-one generation is measured on a dozen of the prompts,
spread evenly over the lengths, because all of them would take a quarter of an hour; ours on all 100.

Random weights give nearly flat logits, whose likeliest token is a matter of rounding. So the output matrix is made to
favour the successor of the current token, as strongly as it takes (found by probing) for the model to say another one
about once in 350 steps: decisive like a trained model, and yet every layer has a say. Where outputs differ, the two
tokens of the first difference count as a tie if their logits differ by no more than the same difference changes between
transformers' own two ways to compute it: step by step with a cache, and the whole text at once.

    python benchmarks/generation.py            # one H100; about 4 minutes
    python benchmarks/generation.py --quick    # six layers; a tiny model on a CPU
"""

from __future__ import annotations

import gc
import itertools
import json
import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
import transformers
from _judges import SHAPES, Timer
from _report import benchmark_parser, save

from kaggle_utils.chat.generator import GenerationSettings
from kaggle_utils.inference.continuous_run import ContinuousRun
from kaggle_utils.inference.decoding_row import DecodingRow
from kaggle_utils.inference.token_choice import TokenChoice

TINY = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "query_pre_attn_scalar": 16}  # fmt: skip
MARGIN = 2.75  # mean over standard deviation of the successor's lead: it loses about once in 350 steps


class Bench:
    """One device, one model, and the figures as they come."""

    def __init__(self, device: str, quick: bool, prompts: int, measured: int) -> None:
        self.device, self.tiny = device, device == "cpu"
        self.new = 24 if self.tiny else 64 if quick else 256
        layers = {"num_hidden_layers": 6} if quick and not self.tiny else {}
        sizes = TINY if self.tiny else SHAPES["gemma"]["full"] | layers
        self.model = random_model(sizes, self.device, torch.float32 if self.tiny else torch.bfloat16)
        low, high, count = (5, 120, 12) if self.tiny else (200, 3000, 40 if quick else prompts)
        generator = np.random.default_rng(0)
        lengths = generator.permutation(np.linspace(low, high, count).astype(int))
        self.prompts = [generator.integers(5, sizes["vocab_size"], n).tolist() for n in lengths]
        by_length = np.argsort(lengths, kind="stable")
        chosen = np.linspace(0, count - 1, 3 if quick else min(measured, count)).round().astype(int)
        self.measured = [int(i) for i in by_length[chosen]]
        self.figures: dict[str, float | int | bool] = {}
        self.details: dict[str, object] = {"prompt_tokens": int(lengths.sum()), "measured_rows": len(self.measured)}

    def one_by_one(self) -> list[list[int]]:
        """What the original does, on some of the prompts; returns their new tokens."""
        generate(self.model, self.prompts[self.measured[0]], 4)
        outputs = []
        with Timer(self.device) as timer:
            for i in self.measured:
                outputs.append(generate(self.model, self.prompts[i], self.new))
                print(f"  one by one: {len(self.prompts[i])} + {len(outputs[-1])} tokens", flush=True)
        self.figures["tokens_per_s_one_by_one"] = sum(map(len, outputs)) / timer.seconds
        return outputs

    def ours(self, new: int, name: str, run: ContinuousRun) -> list[list[int]]:
        """All prompts through the continuous batch; returns new tokens in order."""
        rows = [DecodingRow(i, prompt, new) for i, prompt in enumerate(self.prompts)]
        with Timer(self.device) as timer:
            run.run(rows, TokenChoice(GenerationSettings(max_new_tokens=new)), ended=lambda row: "")
        produced = sum(len(row.new) for row in rows)
        self.details[f"seconds_{name}"] = round(timer.seconds, 2)
        self.details[f"tokens_per_s_{name}"] = round(produced / timer.seconds, 1)
        print(f"  ours, {name}: {produced} tokens in {timer.seconds:.1f} s; {run.plan}", flush=True)
        return [row.new for row in rows]

    def peak(self, name: str) -> None:
        """Note the GiB allocated at most since the last call."""
        if not self.tiny:
            self.figures[name] = torch.cuda.max_memory_allocated() / 2**30
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def compare(self, theirs: list[list[int]], ours: list[list[int]]) -> None:
        """Share of equal rows, and how many of the differences begin at a tie."""
        noise = rounding(self.model, self.prompts[self.measured[len(self.measured) // 2]], min(self.new, 128))
        differing, gaps = 0, []
        for i, wanted in zip(self.measured, theirs, strict=True):
            found = ours[i]
            at = next((k for k, (a, b) in enumerate(zip(wanted, found, strict=True)) if a != b), None)
            if at is not None:
                differing += 1
                logits = whole(self.model, self.prompts[i] + wanted[:at], 1)[0]
                gaps.append(float((logits[wanted[at]] - logits[found[at]]).abs()))
        self.figures["outputs_equal"] = 1 - differing / len(theirs)
        self.figures["differing"] = differing
        self.figures["ties"] = sum(gap <= noise for gap in gaps)
        self.details |= {"rounding_of_lead": noise, "gaps": [round(gap, 4) for gap in gaps]}
        steps = [b - a for row in theirs for a, b in itertools.pairwise(row)]
        self.details["steps_off_the_successor"] = float(np.mean([step != 1 for step in steps]))


def random_model(sizes: dict[str, int], device: str, dtype: torch.dtype) -> torch.nn.Module:
    """Gemma 2 with transformers' own initialisation and an output matrix that favours the successor of a token."""
    config = transformers.Gemma2Config(
        **sizes, tie_word_embeddings=False, pad_token_id=0, eos_token_id=None, bos_token_id=None
    )
    config._attn_implementation = "eager"  # transformers' choice for Gemma 2
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = transformers.Gemma2ForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    model.generation_config = transformers.GenerationConfig(pad_token_id=0, do_sample=False, eos_token_id=None)
    with torch.no_grad():
        model.lm_head.weight.copy_(model.model.embed_tokens.weight.roll(1, 0))
        scale_embedding(model)
    return model


@torch.no_grad()
def scale_embedding(model: torch.nn.Module) -> None:
    """Scale the input embedding until the successor leads by ``MARGIN`` standard deviations of its lead."""
    embedding = model.model.embed_tokens.weight
    original = embedding.clone()
    ids = np.random.default_rng(1).integers(5, len(embedding) - 1, 256).tolist()
    successors = torch.tensor(ids, device=embedding.device) + 1
    low, high = 0.05, 50.0
    for _ in range(10):
        scale = math.sqrt(low * high)
        embedding.copy_(original * scale)
        logits = whole(model, ids, len(ids))
        own = logits.gather(1, successors[:, None])[:, 0]
        lead = own - logits.scatter(1, successors[:, None], -math.inf).max(dim=1).values
        margin = (lead.mean() / lead.std()).item()
        low, high = (scale, high) if margin < MARGIN else (low, scale)
    print(f"embedding scaled by {scale:.3f}: the successor leads by {margin:.2f} standard deviations", flush=True)


@torch.no_grad()
def generate(model: torch.nn.Module, prompt: Sequence[int], new: int) -> list[int]:
    """The original's call for one prompt, greedy; returns the new tokens."""
    ids = torch.tensor([prompt], device=model.device)
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False)
    return out[0, len(prompt) :].tolist()


@torch.no_grad()
def whole(model: torch.nn.Module, ids: Sequence[int], keep: int) -> torch.Tensor:
    """Logits at the last ``keep`` positions of a text read at once, float32 [keep, vocabulary]."""
    tensor = torch.tensor([ids], device=model.device)
    return model(input_ids=tensor, use_cache=False, logits_to_keep=keep).logits[0].float()


@torch.no_grad()
def rounding(model: torch.nn.Module, prompt: Sequence[int], new: int) -> float:
    """By how much the lead of the likeliest token over the next changes between transformers' two ways, at most."""
    ids = torch.tensor([prompt], device=model.device)
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False,
                         output_logits=True, return_dict_in_generate=True)  # fmt: skip
    steps = torch.cat(out.logits).float()
    once = whole(model, out.sequences[0, :-1].tolist(), len(steps))
    best = steps.topk(2).indices
    lead = [logits.gather(1, best) for logits in (steps, once)]
    return float(((lead[0][:, 0] - lead[0][:, 1]) - (lead[1][:, 0] - lead[1][:, 1])).abs().max())


def exact(device: str) -> dict[str, bool]:
    """Whether a tiny float32 model with a window shorter than its prompts gives the same tokens both ways."""
    torch.manual_seed(1)
    config = transformers.Gemma2Config(**TINY, sliding_window=48, pad_token_id=0, eos_token_id=None, bos_token_id=None)
    config._attn_implementation = "eager"
    model = transformers.Gemma2ForCausalLM(config).to(device).eval()
    model.generation_config = transformers.GenerationConfig(pad_token_id=0, do_sample=False, eos_token_id=None)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3 if parameter.ndim == 2 else 1)
    generator = np.random.default_rng(2)
    prompts = [generator.integers(1, 512, n).tolist() for n in (3, 64, 130, 9, 47, 200, 65, 1, 90)]
    rows = [DecodingRow(i, prompt, 8 + 5 * i) for i, prompt in enumerate(prompts)]
    run = ContinuousRun(model, slots=4, prefill_tokens=200)
    run.run(rows, TokenChoice(GenerationSettings()), ended=lambda row: "")
    same = all(row.new == generate(model, row.prompt, row.limit) for row in rows)
    return {"tiny_equal": same, "kernel": run.step.kernel, "graphs": run.step.graphs}


def measure(bench: Bench) -> None:
    """Both ways, and how they compare."""
    theirs = bench.one_by_one()
    bench.peak("peak_gib_one_by_one")
    run = ContinuousRun(bench.model)
    bench.ours(1, "prompts", ContinuousRun(bench.model))  # also compiles the kernels at this shape
    bench.peak("peak_gib_prompts")
    ours = bench.ours(bench.new, "first", run)
    bench.peak("peak_gib")
    # The first full run, as a user gets it: cache allocated and steps recorded in it. The second finds them there.
    bench.figures["tokens_per_s"] = bench.details["tokens_per_s_first"]
    again = bench.ours(bench.new, "again", run)
    bench.details["runs_agree"] = float(np.mean([a == b for a, b in zip(ours, again, strict=True)]))
    bench.details["plan"] = str(run.plan)
    bench.figures |= {"kernel": run.step.kernel, "graphs": run.step.graphs}
    run.step = None
    gc.collect()
    if not bench.tiny:
        torch.cuda.empty_cache()
    bench.compare(theirs, ours)
    bench.figures["generation_speedup"] = bench.figures["tokens_per_s"] / bench.figures["tokens_per_s_one_by_one"]


def main() -> None:
    """Command line."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--measured", type=int, default=12, help="prompts that are also generated one by one")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("kaggle_utils").setLevel(logging.INFO)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(1)  # what a tiny model does is over before other threads wake up
    found = exact(device)
    print(f"tiny model in float32: {found}", flush=True)
    bench = Bench(device, args.quick, args.prompts, args.measured)
    bench.figures["tiny_equal"] = found["tiny_equal"]
    measure(bench)
    figures = {k: round(v, 4) if isinstance(v, float) else v for k, v in bench.figures.items()}
    print(json.dumps(bench.details))
    if not args.quick and not bench.tiny:
        headline = ", ".join(f"{name} {value:g}" for name, value in figures.items())
        save("generation", figures, headline=headline, packages=("torch", "transformers", "triton"),
             details=bench.details)  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
