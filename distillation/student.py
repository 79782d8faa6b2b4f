"""Build the student from the teacher's own weights.

The student is a standard `ElectraForSequenceClassification`: as wide as its BERT teacher, with fewer layers (copies of
some of the teacher's, less the feed-forward neurons that say least) and factorised embeddings, which is where a small
BERT keeps half of its weights. The embedding block has no counterpart in the teacher, so it is fitted alone, in about
a minute, before any training: to the teacher's embedding output, from the principal directions of its word vectors.
The head starts as the teacher's pooler and classifier.
"""

import logging
from collections.abc import Sequence

import torch
from torch import nn
from transformers import BertForSequenceClassification, ElectraConfig, ElectraForSequenceClassification

from distillation.teacher import pad

log = logging.getLogger(__name__)
EMBEDDING_BATCH_TOKENS = 8192


def build_student(
    teacher: BertForSequenceClassification,
    init_layers: Sequence[int],
    embedding_size: int,
    intermediate_size: int,
    rows: Sequence[dict[str, list[int]]],
) -> ElectraForSequenceClassification:
    """Return a student whose layers are copies of the teacher's `init_layers` (counted from 0). No dropout in it.

    Of each layer's feed-forward neurons it keeps the `intermediate_size` that say most on `rows` (tokenized pairs).
    """
    config = teacher.config
    loudness = neuron_loudness(teacher, rows)
    student = ElectraForSequenceClassification(
        ElectraConfig(
            vocab_size=config.vocab_size,
            embedding_size=embedding_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=len(init_layers),
            num_attention_heads=config.num_attention_heads,
            intermediate_size=intermediate_size,
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
        kept = loudness[source].topk(intermediate_size).indices.sort().values
        state = dict(teacher.bert.encoder.layer[source].state_dict())
        for name in ("intermediate.dense.weight", "intermediate.dense.bias"):
            state[name] = state[name][kept]
        state["output.dense.weight"] = state["output.dense.weight"][:, kept]
        layer.load_state_dict(state)
    student.classifier.dense.load_state_dict(teacher.bert.pooler.dense.state_dict())
    student.classifier.out_proj.load_state_dict(teacher.classifier.state_dict())
    project_embeddings(student, teacher)
    return student


@torch.inference_mode()
def neuron_loudness(teacher: BertForSequenceClassification, rows: Sequence[dict[str, list[int]]]) -> torch.Tensor:
    """Return how much each feed-forward neuron adds to its layer's output over `rows`, (layers, intermediate size).

    It is the mean square of the neuron's activation, times the squared length of the weights that lead out of it.
    """
    layers = teacher.bert.encoder.layer
    squares = torch.zeros(len(layers), teacher.config.intermediate_size)

    def record(number: int, activation: torch.Tensor) -> None:
        squares[number] += activation[0].square().sum(0)

    hooks = [
        layer.intermediate.register_forward_hook(lambda _, __, out, number=number: record(number, out))
        for number, layer in enumerate(layers)
    ]
    # One at a time, so that no padding is counted.
    for row in rows:
        teacher(**pad([row]))
    for hook in hooks:
        hook.remove()
    return squares * torch.stack([layer.output.dense.weight.square().sum(0) for layer in layers])


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
