"""What transformers writes greedily with tiny random models of each family, for tests/generation and for compare.py.

    python3 generation.py FOLDER [--count 1] [--first 0] [--jobs 2] [FAMILY…]

Needs torch, transformers and safetensors. Writes FOLDER/FAMILY_N/model, a directory, and FOLDER/FAMILY_N/written.json: prompts
(longer and shorter than windows), the repetition penalty, and the tokens that follow each prompt alone.
"""

import argparse
import copy
import json
import logging
import multiprocessing
import pathlib
import random
import subprocess
import sys
import warnings

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from faults import mended, mended_files, reference  # noqa: E402
from random_models import CASES, ENCODER_DECODERS, fill_apart, forget_lengths  # noqa: E402

LENGTHS = (23, 5)
COUNT = 32
# Logits of the likeliest two tokens and choices of experts are at least so far apart, ten times what both sides differ by: of
# the largest logit, and of what is chosen from.
APART = 1e-5


def with_room(name, options):
    """The options of a model for texts of LENGTHS[0] + COUNT tokens."""
    scaling = options.get("rope_parameters", {}).get("rope_type")
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "model_max_length"):
        if key in options:  # dynamic scaling begins within the text
            options[key] = 20 if scaling == "dynamic" and "alpha" not in options["rope_parameters"] else 64
    if scaling == "dynamic":
        options["rope_parameters"]["factor"] = max(3.5, options["rope_parameters"]["factor"])
    if name == "lfm2_moe":  # the cache of the class wants one
        options["layer_types"][-1] = "full_attention"
    if name == "nllb_moe":  # or what one text gets depends on those beside it, which moe refuses
        options["moe_eval_capacity_token_fraction"] = 1.0
    return options


def reads_anew(name, model):
    """Whether what a cache holds is not what the whole text gives, so that moe's tokens are those without one.

    longrope: keys that were turned by the short factors stay so in the cache (of Phi-3.5 too, as faults.py mends it). Switch: experts
    of limited capacity never fill up when tokens come one by one. A window of one token: with a cache Mistral's class writes otherwise
    than without."""
    parameters = getattr(model.config, "rope_parameters", None) or {}
    return name == "switch_transformers" or parameters.get("rope_type") == "longrope" or getattr(model.config, "sliding_window", None) == 1


def greedy(name, model, prompt, penalty):
    """(tokens, how far the likeliest were ahead of the next, of the largest logit)."""
    forget_lengths(model)
    out = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), max_new_tokens=COUNT,
                         min_new_tokens=COUNT, do_sample=False, num_beams=1, repetition_penalty=penalty,
                         use_cache=not reads_anew(name, model), return_dict_in_generate=True, output_scores=True)
    scores = torch.cat(out.scores)
    best = scores.topk(2).values
    largest = scores.where(scores.isfinite(), 0).abs().amax(-1)
    return out.sequences[0, -COUNT:].tolist(), ((best[:, 0] - best[:, 1]) / largest).min().item()


def draw(name, number):
    """(model, prompts, penalty, tokens of each prompt), or None where every try comes close to a tie."""
    r = random.Random(f"{name}/{number}")
    kind, options = CASES[name](r)
    options = with_room(name, copy.deepcopy(options))
    if name not in ENCODER_DECODERS:
        options |= dict(bos_token_id=None, eos_token_id=None)
    config = CONFIG_MAPPING[kind](**options)
    torch.manual_seed(number)
    model = mended(name, reference(name, config).float().eval())
    model.generation_config.eos_token_id = None  # nothing ends a text
    model.generation_config.pad_token_id = model.generation_config.pad_token_id or 0
    penalty = r.choice((1.0, 1.3))
    generator = torch.Generator().manual_seed(r.randrange(2**31))
    prompts = [torch.randint(3, config.vocab_size, (length,), generator=generator).tolist() for length in LENGTHS]
    written = []

    def use():
        written[:] = [greedy(name, model, prompt, penalty) for prompt in prompts]
        return min(ahead for _, ahead in written)

    if not fill_apart(name, model, number, use, APART):
        return None
    return model, prompts, penalty, [tokens for tokens, _ in written]


def save(name, model, folder):
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    mended_files(name, folder, model)


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def write_letters(folder, count):
    """A tokenizer.json whose token N is letter N, for `moe generate`, which reads and writes text."""
    model = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None, fuse_unk=False,
                 byte_fallback=False, vocab={letter: n for n, letter in enumerate(LETTERS[:count])}, merges=[])
    (folder / "tokenizer.json").write_text(json.dumps(dict(version="1.0", added_tokens=[], normalizer=None, pre_tokenizer=None,
                                                           post_processor=None, decoder=None, model=model)))


def compare_generation(program, name, number, work, problems):
    """How many tokens `moe generate` and transformers both wrote; adds to `problems` where they are others."""
    drawn = draw(name, number)
    if drawn is None:
        return 0
    model, prompts, penalty, expected = drawn
    save(name, model, work)
    write_letters(work, model.config.vocab_size)
    same = 0
    for prompt, tokens in zip(prompts, expected):
        done = subprocess.run([program, "generate", work, "--prompt", "".join(LETTERS[i] for i in prompt), "--max-tokens", str(COUNT),
                               "--temperature", "0", "--repetition-penalty", str(penalty), "--ignore-end-of-text", "--json"], capture_output=True, text=True)
        if done.returncode != 0:
            problems.append(f"moe generate left with {done.returncode}: {done.stderr.strip()[:500]}")
            continue
        got = json.loads(done.stdout)["tokens"]
        if got == tokens:
            same += len(tokens)
        else:
            where = next((i for i, (a, b) in enumerate(zip(got, tokens)) if a != b), min(len(got), len(tokens)))
            problems.append(f"behind a prompt of {len(prompt)} tokens token {where} is another")
    return same


def one_case(case):
    folder, name, number = case
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").handlers.clear()
    warnings.simplefilter("ignore")
    drawn = draw(name, number)
    if drawn is None:
        print(f"{name} {number}: every try comes close to a tie", file=sys.stderr)
        return
    model, prompts, penalty, tokens = drawn
    folder = folder / f"{name}_{number}"
    save(name, model, folder / "model")
    (folder / "written.json").write_text(json.dumps({"prompts": prompts, "repetition_penalty": penalty, "tokens": tokens}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("families", nargs="*")
    o = parser.parse_args()
    cases = [(o.folder, name, number) for name in o.families or CASES for number in range(o.first, o.first + o.count)]
    with multiprocessing.Pool(o.jobs) as pool:
        list(pool.imap_unordered(one_case, cases))


if __name__ == "__main__":
    main()
