"""read_with_transformers.py FOLDER: reads FOLDER/model with transformers and fails where that warns, misses or has to
invent a tensor, or computes other logits than FOLDER/logits.safetensors of FOLDER/ids.json; a tokenizer that is there
must give back text and its end token, and write the question "Hello" as FOLDER/chat.txt where that is there."""
import json
import logging
import pathlib
import sys
import warnings

import torch
import transformers
from safetensors.torch import load_file

folder = pathlib.Path(sys.argv[1])
said = []


class Listener(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())


transformers.utils.logging.set_verbosity_warning()
transformers.utils.logging.disable_progress_bar()
logging.getLogger("transformers").addHandler(Listener(logging.WARNING))
warnings.simplefilter("ignore")  # torch without numpy
problems = []

model, info = transformers.AutoModelForCausalLM.from_pretrained(
    folder / "model", dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
problems += [f"{what}: {names}" for what, names in info.items() if names]
if (folder / "model" / "tokenizer.json").exists():
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    text = "The cat's hat, 1990.\n\n  日本語"
    back = tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)
    if back != text:
        problems.append(f"the tokenizer gives {back!r} for {text!r}")
    ends = model.generation_config.eos_token_id
    if tokenizer.eos_token_id is None or tokenizer.eos_token_id not in (ends if isinstance(ends, list) else [ends]):
        problems.append(f"end of text: {tokenizer.eos_token_id} and {ends}")
    if (folder / "chat.txt").exists():
        chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False, add_generation_prompt=True)
        if chat != (folder / "chat.txt").read_text():
            problems.append(f"the chat template gives {chat!r}")

ids = torch.tensor(json.loads((folder / "ids.json").read_text())["input_ids"])
with torch.no_grad():
    theirs = model.eval()(input_ids=ids).logits
ours = load_file(folder / "logits.safetensors")["logits"]
difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
if not difference <= 2e-5:
    problems.append(f"logits differ by {difference:.2g} of the largest")
problems += [f"it said: {line}" for line in said]
for problem in problems:
    print(problem, file=sys.stderr)
sys.exit(1 if problems else 0)
