"""read_with_transformers.py FOLDER: reads FOLDER/model with transformers and fails where that warns, misses or has to
invent a tensor, or computes other logits than FOLDER/logits.safetensors of FOLDER/ids.json; a tokenizer that is there
must give back text and its end token."""
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
    if tokenizer.eos_token_id is None or tokenizer.eos_token_id != model.generation_config.eos_token_id:
        problems.append(f"end of text: {tokenizer.eos_token_id} and {model.generation_config.eos_token_id}")

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
