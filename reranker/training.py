"""One training: sentence-transformers' trainer as a recipe wants it, watched and steered, and what comes of it."""

from __future__ import annotations

import functools
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reranker.anchor import Anchor, share_of
from reranker.dataset import JudgedQuery, LabelledPair, count_passages
from reranker.first_token import shorten
from reranker.loading import MODEL_KWARGS, cpu_precision, tokenizer_of
from reranker.losses import MEANS_OVER_PAIRS, examples, make_loss
from reranker.recipe import recipe_of
from reranker.reporter import PhaseReporter, Reporter
from reranker.run_files import RunFiles, write_json

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments

# What a training step costs for each of its pairs, in pairs that are scored; and what it costs to get ready for another
# training, and to save what came of it. Measured on two cores, with the built-in model.
STEP_COST, PREPARING = 10, 600
# By how often a training is measured, a step costs three forward passes: a run that is made again is to be measured
# when it was before.
TRAINING_COST = 3
# The share of a training's cost that measuring it on its way may add, and how often it is measured in any case.
EVALUATION_SHARE = 0.1
MIN_EVALUATIONS = 3
MAX_EVALUATIONS = 20
# How long the processes of a training wait for each other: one of them measures while the others have nothing to do.
SECONDS_TO_WAIT = 7 * 24 * 3600


def evaluations_of(config: dict[str, Any], train: list[LabelledPair], dev: list[JudgedQuery]) -> int:
    """How often a training is measured on the dev set on its way: as often as costs a small share of its time."""
    to_score = count_passages(dev)
    if not to_score:
        return 0
    affordable = EVALUATION_SHARE * TRAINING_COST * config["epochs"] * len(train) / to_score
    return int(min(max(affordable, MIN_EVALUATIONS), MAX_EVALUATIONS))


def training_work(config: dict[str, Any], train: list[LabelledPair], dev: list[JudgedQuery]) -> float:
    """The cost of a training, in pairs that are scored."""
    to_score = count_passages(dev)
    # The anchor brings pairs of its own to each step.
    passes = config["epochs"] * (1 + share_of(len(train)) if is_anchored(config) else 1)
    return STEP_COST * passes * len(train) + evaluations_of(config, train, dev) * to_score


def loss_of(config: dict[str, Any]) -> str:
    """The name of a training's loss: the one that was asked for, or its recipe's own."""
    return config.get("loss") or recipe_of(config).loss


def is_in_parts(config: dict[str, Any]) -> bool:
    """Whether a training works through its batches in parts (trainer.py)."""
    return recipe_of(config).fast and loss_of(config) in MEANS_OVER_PAIRS


def is_anchored(config: dict[str, Any]) -> bool:
    """Whether a training is held to what the model knew before (anchor.py)."""
    return is_in_parts(config) and recipe_of(config).anchor > 0


def is_main_process() -> bool:
    """Whether this process reports and measures: of several that train together, the first one."""
    return os.environ.get("RANK", "0") == "0"


def processes() -> int:
    """How many processes train together, by the word of what launched them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def train(
    config: dict[str, Any],
    pairs: list[LabelledPair],
    files: RunFiles,
    reporter: Reporter | PhaseReporter,
    dev: list[JudgedQuery] | None = None,
    preparing: float = 0,
) -> None:
    """Fine-tune the base model on `pairs` with sentence-transformers' own trainer, and save it with its model card.

    `preparing` is the work, of that which the reporter counts, that is done when it can begin.

    It is measured on `dev` on its way, and goes on from the last checkpoint where there is one. Asked to stop, it ends
    after the step that it is in.
    """
    from reranker.watch import Watch

    recipe, loss, work = recipe_of(config), loss_of(config), training_work(config, pairs, dev or [])
    model = _base_model(config)
    watch = Watch(files, config, dev or [], evaluations_of(config, pairs, dev or []), reporter, work)
    make_trainer = _fast_trainer(model, pairs, config) if is_in_parts(config) else _plain_trainer()
    if recipe.fast:
        shorten(model.model)
    trainer = make_trainer(
        model=model,
        args=_arguments(config, files),
        train_dataset=examples(loss, pairs),
        loss=make_loss(loss, model),
        callbacks=[watch],
    )
    reporter.finish_phase(preparing)
    last = files.last_checkpoint()
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    reporter.finish_phase(watch.work_done if watch.stopped == "cancelled" else work)
    if is_main_process():
        kept = watch.load_best(model)
        reporter.progress("Saving the new model", 0)
        _save(model, config, files, watch.summary(kept))


def _base_model(config: dict[str, Any]) -> CrossEncoder:
    """The model that a training starts from."""
    from sentence_transformers import CrossEncoder, CrossEncoderModelCardData

    card = CrossEncoderModelCardData(local_files_only=True)
    model = CrossEncoder(
        config["base_path"], local_files_only=True, model_card_data=card, model_kwargs=MODEL_KWARGS
    )
    # The card would find the base only by asking the Hub; the parent knows it.
    card.base_model = config["base_name"]
    return model


def _arguments(config: dict[str, Any], files: RunFiles) -> CrossEncoderTrainingArguments:
    """What the trainer is told. The model card says all of it that is not as it comes."""
    import torch
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments

    recipe, sharing = recipe_of(config), processes()
    in_bfloat16 = recipe.fast and has_bfloat16()
    # Only where they are needed, so that the card of one process says what the plain trainer's does.
    together = {"ddp_timeout": SECONDS_TO_WAIT} if sharing > 1 else {}
    # Of several processes, and in bfloat16, a processor has to be asked for by name.
    together |= {"use_cpu": not torch.cuda.is_available()} if sharing > 1 or in_bfloat16 else {}
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(files.checkpoints),
        per_device_train_batch_size=config["batch_size"] // sharing,
        per_device_eval_batch_size=config["batch_size"],
        num_train_epochs=config["epochs"],
        learning_rate=config["learning_rate"],
        warmup_steps=recipe.warmup,
        seed=config["seed"],
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        **together,
        bf16=in_bfloat16,
    )
    # With several processes it is set to leave the last batch of an epoch out; ours share that, too.
    arguments.dataloader_drop_last = False
    if sharing == 1:
        # Of several graphics cards one process takes one, or each step would see as many batches.
        arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _save(model: CrossEncoder, config: dict[str, Any], files: RunFiles, summary: dict[str, Any]) -> None:
    """Put the trained model in its place, and note down how its training went."""
    unfinished = files.directory / "model.part"
    model.save_pretrained(str(unfinished))
    if not config["base_on_hub"]:
        _unlink_base(unfinished / "README.md", config["base_name"])
    write_json(files.trained, summary)
    shutil.rmtree(files.model, ignore_errors=True)
    unfinished.rename(files.model)


def train_part(
    config: dict[str, Any],
    pairs: list[LabelledPair],
    files: RunFiles,
    reporter: Reporter | PhaseReporter,
    dev: list[JudgedQuery],
) -> None:
    """The same training on a part of a run's pairs, from beginning to end; `dev` only says when to stop early."""
    files.directory.mkdir(parents=True, exist_ok=True)
    own = {**config, "stop_after": None, "seconds_between_checkpoints": math.inf}
    train(own, pairs, files, reporter, dev if config.get("patience") else [], PREPARING)


def part_work(config: dict[str, Any], pairs: list[LabelledPair], dev: list[JudgedQuery]) -> float:
    """The cost of `train_part`, in pairs that are scored."""
    return PREPARING + training_work(config, pairs, dev if config.get("patience") else [])


def has_bfloat16() -> bool:
    """Whether training in bfloat16 is faster than in float32 here."""
    import torch

    if torch.cuda.is_available():
        # A card that only emulates it is no faster for it.
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_precision() == "bfloat16"


def _plain_trainer() -> Callable:
    from reranker.trainer import SharingTrainer

    return SharingTrainer


def _fast_trainer(model: CrossEncoder, pairs: list[LabelledPair], config: dict[str, Any]) -> Callable:
    """What makes a trainer that works through batches in parts; the pairs' tokens are counted once, before."""
    import torch

    from reranker.trainer import MicroBatchTrainer

    texts = [(pair.query, pair.passage) for pair in pairs]
    anchor = None
    if is_anchored(config):
        # In the precision of the training, so that what it is held to differs by what is learned alone.
        with torch.autocast(model.device.type, torch.bfloat16, enabled=has_bfloat16()):
            anchor = Anchor.of(pairs, model, recipe_of(config).anchor, config["seed"])
        texts += anchor.pairs if anchor else []
    tokens = dict(zip(texts, (len(pair.ids) for pair in tokenizer_of(model).encode(texts)), strict=True))
    return functools.partial(
        MicroBatchTrainer, count_tokens=lambda query, passage: tokens[query, passage], anchor=anchor
    )


def _unlink_base(card: Path, base_name: str) -> None:
    """Take the link to the base model out of a model card: it leads nowhere when the base is not on the Hub."""
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace(f"[{base_name}](https://huggingface.co/{base_name})", base_name), encoding="utf-8")
