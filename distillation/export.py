"""Write the student as the directory that ships: what plain `CrossEncoder(directory)` loads."""

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import ElectraForSequenceClassification, PreTrainedTokenizerBase

MAX_SHARD = "9MB"
MAX_TOKENS = 512
DROPOUT = 0.1
# Settings of one load or one call that a tokenizer's configuration takes along.
TRANSIENT = frozenset(
    {"is_local", "local_files_only", "max_length", "pad_to_multiple_of", "stride", "truncation_strategy"}
)
CARD = Path(__file__).parent / "model_card.md"


@dataclass(frozen=True)
class CardFacts:
    """What the model card's template says of this very run."""

    command: str
    datasets: str
    pairs: int
    steps: int
    seed: int
    correlation: float
    results: str


def save_student(student: ElectraForSequenceClassification, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    """Write fp16 shards that load as fp32, the tokenizer and a configuration whose scores are raw logits.

    Everything is written beside `out` first, so that `out` is either the old model or the new one.
    """
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    config = student.config
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = DROPOUT
    config.id2label, config.label2id = {0: "relevance"}, {"relevance": 0}
    config.sentence_transformers = {
        "activation_fn": "torch.nn.modules.linear.Identity",
        "version": version("sentence-transformers"),
    }
    student.to(torch.float16).save_pretrained(partial, max_shard_size=MAX_SHARD)
    student.to(torch.float32)
    # transformers loads in the dtype that the configuration names: half precision is for the disk alone.
    file = partial / "config.json"
    written = json.loads(file.read_text(encoding="utf-8")) | {"dtype": "float32"}
    file.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_tokenizer(tokenizer, partial)
    for file in partial.iterdir():
        file.chmod(0o644)
    replaced = out.with_name(out.name + ".replaced")
    if out.exists():
        out.rename(replaced)
    partial.rename(out)
    shutil.rmtree(replaced, ignore_errors=True)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    """Write the tokenizer without the state that loading and using it left: it neither cuts nor pads by itself."""
    tokenizer.model_max_length = MAX_TOKENS
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(out)
    file = out / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    kept = {name: value for name, value in config.items() if name not in TRANSIENT}
    file.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_card(facts: CardFacts, out: Path) -> None:
    """Fill the template's {names} from `facts`."""
    (out / "README.md").write_text(CARD.read_text(encoding="utf-8").format(**vars(facts)), encoding="utf-8")
