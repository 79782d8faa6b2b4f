"""Score pairs with the teacher, once.

Besides the logit, the student learns from the teacher's hidden states, at a few tokens of each pair (the first is
always [CLS]): all tokens would be 60 times the disk for little more. Results are kept on disk in blocks of
BLOCK_PAIRS pairs, named by a hash of what they were made from, so that a run that broke off goes on where it was.
"""

import hashlib
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification, PreTrainedTokenizerBase

from distillation.pairs import Pair

log = logging.getLogger(__name__)
BLOCK_PAIRS = 2400
BATCH_TOKENS = 4096
TOKENS_PER_PAIR = 8


@dataclass(frozen=True)
class TeacherOutputs:
    """What the teacher said of N pairs.

    logits: (N,) float32. positions: (N, S) int64, the tokens whose states are kept, [CLS] first.
    states: (N, L, S, H) float16, hidden states after each of the L chosen layers.
    """

    logits: np.ndarray
    positions: np.ndarray
    states: np.ndarray


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


def gather_states(states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Take (B, S) token positions out of (B, T, H) hidden states: (B, S, H)."""
    return states.gather(1, positions.unsqueeze(-1).expand(-1, -1, states.shape[-1]))


@torch.inference_mode()
def score_block(
    model: BertForSequenceClassification, rows: Sequence[dict[str, list[int]]], layers: Sequence[int], seed: int
) -> TeacherOutputs:
    """Score tokenized pairs; `layers` counts from 1, so that 12 is the output of the twelfth layer."""
    rng = random.Random(seed)
    positions = np.array(
        [[0] + [rng.randrange(1, len(row["input_ids"])) for _ in range(TOKENS_PER_PAIR - 1)] for row in rows]
    )
    logits = np.zeros(len(rows), np.float32)
    states = np.zeros((len(rows), len(layers), TOKENS_PER_PAIR, model.config.hidden_size), np.float16)
    for batch in batches_by_length(rows):
        out = model(**pad([rows[number] for number in batch]), output_hidden_states=True)
        logits[batch] = out.logits[:, 0].float().numpy()
        at = torch.from_numpy(positions[batch])
        for column, layer in enumerate(layers):
            states[batch, column] = gather_states(out.hidden_states[layer], at).half().numpy()
    return TeacherOutputs(logits, positions, states)


def score(
    path: str, rows: Sequence[dict[str, list[int]]], layers: Sequence[int], work: Path, seed: int
) -> TeacherOutputs:
    """Score all tokenized pairs in bfloat16, from the files in `work` where they are already there."""
    model = load_teacher(path).to(torch.bfloat16)
    weights = sum(parameter.detach().float().abs().sum().item() for parameter in model.parameters())
    work.mkdir(parents=True, exist_ok=True)
    blocks = []
    for first in range(0, len(rows), BLOCK_PAIRS):
        block, started = rows[first : first + BLOCK_PAIRS], time.monotonic()
        key = hashlib.sha256(repr((weights, list(layers), TOKENS_PER_PAIR, seed, block)).encode()).hexdigest()[:16]
        file = work / f"teacher-{key}.npz"
        if not file.exists():
            made = score_block(model, block, layers, seed + first)
            partial = file.with_suffix(".partial.npz")
            np.savez(partial, logits=made.logits, positions=made.positions, states=made.states)
            partial.rename(file)
            rate = len(block) / (time.monotonic() - started)
            log.info("teacher: %d of %d pairs, %.0f a second", first + len(block), len(rows), rate)
        with np.load(file) as saved:
            blocks.append(TeacherOutputs(saved["logits"], saved["positions"], saved["states"]))
    return TeacherOutputs(
        np.concatenate([block.logits for block in blocks]),
        np.concatenate([block.positions for block in blocks]),
        np.concatenate([block.states for block in blocks]),
    )
