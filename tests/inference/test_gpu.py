"""Generation on a GPU: the same order and ends in half precision, real out-of-memory, seeds of the GPU."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from kaggle_utils.chat.generator import GenerationSettings  # noqa: E402
from kaggle_utils.chat.messages import user  # noqa: E402
from kaggle_utils.inference.generation import HFGenerator  # noqa: E402

pytestmark = pytest.mark.gpu

CONVERSATIONS = [[user("Is it " + "very " * n + "old?")] for n in (1, 50, 3, 200, 7)]


@pytest.fixture(scope="module")
def gpu_generator(tiny_llama):
    return HFGenerator.from_folder(tiny_llama, device_map="cuda:0", batch_size=3)


def test_half_precision_answers_are_those_of_float32(gpu_generator, tiny_generator):
    assert gpu_generator.model.dtype in (torch.bfloat16, torch.float16)
    found = gpu_generator.yes_no(CONVERSATIONS)
    assert found == pytest.approx(tiny_generator.yes_no(CONVERSATIONS), abs=0.02)


def test_float32_on_the_gpu_generates_what_the_cpu_generates(tiny_llama, tiny_generator):
    generator = HFGenerator.from_folder(tiny_llama, device_map="cuda:0", dtype="float32", batch_size=3)
    settings = GenerationSettings(max_new_tokens=8)
    assert generator.generate(CONVERSATIONS, settings) == tiny_generator.generate(CONVERSATIONS, settings)


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_quantised_models_generate_and_answer(tiny_llama, quantization):
    generator = HFGenerator.from_folder(tiny_llama, quantization=quantization, device_map="cuda:0")
    assert len(generator.generate(CONVERSATIONS, GenerationSettings(max_new_tokens=4))) == 5
    assert all(0 <= p <= 1 for p in generator.yes_no(CONVERSATIONS))


def test_the_even_map_generates(tiny_llama):
    generator = HFGenerator.from_folder(tiny_llama, device_map="even")
    assert len(generator.generate(CONVERSATIONS, GenerationSettings(max_new_tokens=4))) == 5
    assert all(0 <= p <= 1 for p in generator.yes_no(CONVERSATIONS))


def test_a_seed_repeats_sampling_on_the_gpu_and_leaves_its_state_alone(gpu_generator):
    settings = GenerationSettings(max_new_tokens=12, temperature=1.5, seed=3)
    state = torch.cuda.get_rng_state()
    first = gpu_generator.generate(CONVERSATIONS, settings)
    assert torch.equal(state, torch.cuda.get_rng_state())
    assert gpu_generator.generate(CONVERSATIONS, settings) == first


def test_real_out_of_memory_halves_the_batch(gpu_generator):
    """A hook takes 40 % of the free memory for each row: five rows cannot fit, two can."""
    free = torch.cuda.mem_get_info()[0]
    sizes = []

    def greedy(module, args, kwargs):
        rows = kwargs["input_ids"].shape[0]
        sizes.append(rows)
        torch.empty(int(free * 0.4) * rows, dtype=torch.uint8, device="cuda:0")

    generator = HFGenerator(gpu_generator.model, gpu_generator.tokenizer, batch_size=5)
    expected = gpu_generator.yes_no(CONVERSATIONS)
    handle = generator.model.register_forward_pre_hook(greedy, with_kwargs=True)
    try:
        found = generator.yes_no(CONVERSATIONS)
    finally:
        handle.remove()
        torch.cuda.empty_cache()
    assert found == pytest.approx(expected, abs=0.02)
    assert sizes[:2] == [5, 2] and max(sizes[1:]) <= 2
