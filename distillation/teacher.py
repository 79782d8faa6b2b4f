"""Score pairs with the teacher, once.

Scores are kept on disk in blocks of BLOCK_PAIRS pairs, named by a hash of what they were made from, so that a run that
broke off goes on where it was, and a larger one starts from what a smaller one scored.
"""

import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification, PreTrainedTokenizerBase

from distillation.pairs import Pair

log = logging.getLogger(__name__)
BLOCK_PAIRS = 2400
BATCH_TOKENS = 4096


def load_teacher(path: str) -> BertForSequenceClassification:
    """Load a BERT cross-encoder (directory or Hub id) in fp32, without dropout."""
    return AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()


def encode(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], max_tokens: int) -> list[dict[str, list[int]]]:
    """Tokenize each pair, cutting the passage where it is too long; nothing is padded yet."""
    encoded = tokenizer(
        [pair.query for pair in pairs],
        [pair.passage for pair in pairs],
        truncation="only_second",
        max_length=max_tokens,
        return_attention_mask=False,
    )
    columns = zip(encoded["input_ids"], encoded["token_type_ids"], strict=True)
    return [{"input_ids": ids, "token_type_ids": types} for ids, types in columns]


def pad(rows: Sequence[dict[str, list[int]]], pad_id: int = 0) -> dict[str, torch.Tensor]:
    """Return input_ids, token_type_ids and attention_mask, each (B, T) int64, T the longest row's length."""
    length = max(len(row["input_ids"]) for row in rows)

    def stack(name: str, fill: int) -> torch.Tensor:
        return torch.tensor([row[name] + [fill] * (length - len(row[name])) for row in rows])

    mask = [[1] * len(row["input_ids"]) + [0] * (length - len(row["input_ids"])) for row in rows]
    return {
        "input_ids": stack("input_ids", pad_id),
        "token_type_ids": stack("token_type_ids", 0),
        "attention_mask": torch.tensor(mask),
    }


def batches_by_length(rows: Sequence[dict[str, list[int]]], batch_tokens: int = BATCH_TOKENS) -> list[list[int]]:
    """Group row numbers into batches of similar length and at most `batch_tokens` tokens with the padding."""
    batches: list[list[int]] = [[]]
    for number in sorted(range(len(rows)), key=lambda n: len(rows[n]["input_ids"])):
        if batches[-1] and (len(batches[-1]) + 1) * len(rows[number]["input_ids"]) > batch_tokens:
            batches.append([])
        batches[-1].append(number)
    return batches


@torch.inference_mode()
def score_block(model: BertForSequenceClassification, rows: Sequence[dict[str, list[int]]]) -> np.ndarray:
    """Return the (N,) float32 logits of tokenized pairs."""
    logits = np.zeros(len(rows), np.float32)
    for batch in batches_by_length(rows):
        logits[batch] = model(**pad([rows[number] for number in batch])).logits[:, 0].float().numpy()
    return logits


def score(path: str, rows: Sequence[dict[str, list[int]]], work: Path) -> np.ndarray:
    """Return the teacher's (N,) float32 logits, computed in bfloat16, or read from `work` where they are known."""
    model = load_teacher(path).to(torch.bfloat16)
    weights = sum(parameter.detach().float().abs().sum().item() for parameter in model.parameters())
    work.mkdir(parents=True, exist_ok=True)
    blocks = []
    for first in range(0, len(rows), BLOCK_PAIRS):
        block, started = rows[first : first + BLOCK_PAIRS], time.monotonic()
        key = hashlib.sha256(repr((weights, block)).encode()).hexdigest()[:16]
        file = work / f"teacher-{key}.npy"
        if not file.exists():
            partial = file.with_suffix(".partial.npy")
            np.save(partial, score_block(model, block))
            partial.rename(file)
            rate = len(block) / (time.monotonic() - started)
            log.info("teacher: %d of %d pairs, %.0f a second", first + len(block), len(rows), rate)
        blocks.append(np.load(file))
    return np.concatenate(blocks)
