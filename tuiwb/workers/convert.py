"""A GGUF file as a folder of safetensors: `python -m tuiwb.workers.convert JOB_DIR`.

JOB_DIR/convert.json is `{"gguf": file, "output": empty folder, "dtype": "bfloat16"}`; progress goes to
JOB_DIR/progress.jsonl as `{"doing", "done", "total"}`. The folder gets config.json, generation_config.json, weights,
tokenizer.json, tokenizer_config.json and chat_template.jinja. Exit code 0 when it is whole.

transformers dequantizes the weights; configuration and tokenizer are ours (tuiwb.models), which keep floats as they
were written and split digits as the model was trained to.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from tuiwb.models.gguf_config import config_of
from tuiwb.models.gguf_header import GgufHeader, read_gguf
from tuiwb.models.gguf_tokenizer import build_tokenizer, special_tokens
from tuiwb.rundir.jsonl import append_line

_STEPS = 5


def main(job_folder: Path) -> int:
    job = json.loads((job_folder / "convert.json").read_text("utf-8"))
    gguf, output = Path(job["gguf"]), Path(job["output"])

    asker = os.getppid()

    def say(done: int, doing: str) -> None:
        if os.getppid() != asker:
            sys.exit("whoever asked for this is gone")
        append_line(job_folder / "progress.jsonl", {"doing": doing, "done": done, "total": _STEPS})

    say(0, "reading the GGUF file")
    header = read_gguf(gguf)
    write_tokenizer(header, output)
    say(1, "loading torch")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, GgufConfig

    dtype = getattr(torch, job["dtype"])
    fields = config_of(header)
    config = AutoConfig.for_model(fields.pop("model_type"), **fields, dtype=dtype)
    say(2, "dequantizing the weights")
    loaded = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        config=config,
        dtype=dtype,
        quantization_config=GgufConfig(dequantize=True),
    )
    say(3, "writing the weights")
    # A model loaded from GGUF refuses to be saved; its weights, moved into a fresh one, may be.
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=dtype)
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = GenerationConfig(**generation_ids(header))
    plain.save_pretrained(output)
    say(_STEPS, "finished")
    return 0


def write_tokenizer(header: GgufHeader, output: Path) -> None:
    """tokenizer.json, tokenizer_config.json and chat_template.jinja, as transformers reads them.

    Raises:
        InputFault: the file's vocabulary is of a kind that is not built here.
    """
    build_tokenizer(header).save(str(output / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **special_tokens(header),
    }
    if length := config_of(header).get("max_position_embeddings"):
        config["model_max_length"] = length
    (output / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if template := header.get("tokenizer.chat_template"):
        (output / "chat_template.jinja").write_text(template, "utf-8")


def generation_ids(header: GgufHeader) -> dict[str, Any]:
    """bos, pad and all that ends an answer (eos, and the end of a turn where the file names one)."""
    named = {name: header.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "eot", "eom", "padding")}
    ends = list(dict.fromkeys(number for name in ("eos", "eot", "eom") if (number := named[name]) is not None))
    ids = {
        "bos_token_id": named["bos"],
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": named["padding"],
    }
    return {name: number for name, number in ids.items() if number is not None}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
