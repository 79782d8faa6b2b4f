"""Build the student from the teacher's own weights.

The student is a standard `ElectraForSequenceClassification`: as wide as its BERT teacher, with fewer layers (copies of
some of the teacher's) and factorised embeddings, which is where a small BERT keeps half of its weights. Two parts have
no counterpart in the teacher and are fitted alone, in about a minute, before any training:

- the embedding block, to the teacher's embedding output, starting from the principal directions of its word vectors;
- the head, to the teacher's logits, fed with the teacher's own last [CLS] states: ELECTRA's has a gelu where BERT's
  pooler has a tanh.
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from transformers import BertForSequenceClassification, ElectraConfig, ElectraForSequenceClassification

log = logging.getLogger(__name__)
EMBEDDING_BATCH_TOKENS = 8192


def target_layers(teacher_layers: int, student_layers: int) -> tuple[int, ...]:
    """Return, counting from 1, the teacher layer after which its states are what each student layer should give."""
    return tuple(round((layer + 1) * teacher_layers / student_layers) for layer in range(student_layers))


def build_student(
    teacher: BertForSequenceClassification, init_layers: Sequence[int], embedding_size: int
) -> ElectraForSequenceClassification:
    """Return a student whose layers are copies of the teacher's `init_layers` (counted from 0). No dropout in it."""
    config = teacher.config
    student = ElectraForSequenceClassification(
        ElectraConfig(
            vocab_size=config.vocab_size,
            embedding_size=embedding_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=len(init_layers),
            num_attention_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            hidden_act=config.hidden_act,
            max_position_embeddings=config.max_position_embeddings,
            type_vocab_size=config.type_vocab_size,
            layer_norm_eps=config.layer_norm_eps,
            pad_token_id=config.pad_token_id,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            num_labels=1,
        )
    )
    for layer, source in zip(student.electra.encoder.layer, init_layers, strict=True):
        layer.load_state_dict(teacher.bert.encoder.layer[source].state_dict())
    student.classifier.dense.load_state_dict(teacher.bert.pooler.dense.state_dict())
    student.classifier.out_proj.load_state_dict(teacher.classifier.state_dict())
    project_embeddings(student, teacher)
    return student


@torch.no_grad()
def project_embeddings(student: ElectraForSequenceClassification, teacher: BertForSequenceClassification) -> None:
    """Project the embeddings on the first principal directions of the word vectors, (H, E), and back."""
    source, target = teacher.bert.embeddings, student.electra.embeddings
    words = source.word_embeddings.weight
    size = target.word_embeddings.weight.shape[1]
    directions = torch.linalg.svd(words - words.mean(0), full_matrices=False).Vh[:size].T
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        vectors = getattr(source, name).weight
        centre = 0 if name == "token_type_embeddings" else vectors.mean(0)
        getattr(target, name).weight.copy_((vectors - centre) @ directions)
    # Both sides normalise, over H and over E dimensions: the vectors that come back must be as long as they were.
    scale = (words.shape[1] / size) ** 0.5
    student.electra.embeddings_project.weight.copy_(source.LayerNorm.weight[:, None] * directions * scale)
    student.electra.embeddings_project.bias.copy_(source.LayerNorm.bias)


def fit_embeddings(
    student: ElectraForSequenceClassification,
    teacher: BertForSequenceClassification,
    rows: Sequence[dict[str, list[int]]],
    steps: int,
    learning_rate: float = 3e-3,
) -> float:
    """Fit the student's embedding block to the teacher's; return the share of the variance left unexplained.

    Half of the tokens of each step come from `rows` (tokenized pairs) and half from the whole vocabulary at any
    position, so that neither rare words nor far positions are left behind.
    """
    ids = torch.tensor([token for row in rows for token in row["input_ids"]])
    types = torch.tensor([kind for row in rows for kind in row["token_type_ids"]])
    places = torch.tensor([place for row in rows for place in range(len(row["input_ids"]))])
    config = teacher.config
    block = nn.ModuleList([student.electra.embeddings, student.electra.embeddings_project])
    optimizer = torch.optim.Adam(block.parameters(), lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=steps)
    half = (EMBEDDING_BATCH_TOKENS // 2,)
    unexplained = []
    for _ in range(steps):
        at = torch.randint(len(ids), half)
        tokens = torch.cat([ids[at], torch.randint(config.vocab_size, half)])[None]
        kinds = torch.cat([types[at], torch.randint(config.type_vocab_size, half)])[None]
        positions = torch.cat([places[at], torch.randint(config.max_position_embeddings, half)])[None]
        inputs = {"input_ids": tokens, "token_type_ids": kinds, "position_ids": positions}
        with torch.no_grad():
            wanted = teacher.bert.embeddings(**inputs)
        given = student.electra.embeddings_project(student.electra.embeddings(**inputs))
        loss = nn.functional.mse_loss(given, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        unexplained.append(float(loss.detach() / wanted.var(1).mean()))
    log.info("embeddings: %.3f of the variance unexplained at first, %.3f at last", unexplained[0], unexplained[-1])
    return unexplained[-1]


def fit_head(
    student: ElectraForSequenceClassification,
    cls_states: np.ndarray,
    logits: np.ndarray,
    steps: int,
    learning_rate: float = 1e-3,
) -> float:
    """Fit the head to (N,) teacher logits from the teacher's (N, H) last [CLS] states; return the last mean error."""
    states, wanted = torch.from_numpy(cls_states).float(), torch.from_numpy(logits)
    optimizer = torch.optim.Adam(student.classifier.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=steps)
    loss = torch.zeros(())
    for _ in range(steps):
        at = torch.randint(len(states), (512,))
        loss = nn.functional.mse_loss(student.classifier(states[at, None, :])[:, 0], wanted[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    log.info("head: mean squared error %.3f on the teacher's own states", loss.item())
    return loss.item()
