"""python -m reranker.train RUN_DIR: the child process that trains.

It gets files and gives files. RUN_DIR holds `config.json` (see `jobs.py`), `train.jsonl`, `dev.jsonl` and `test.jsonl`.
While it works, it adds events to `events.jsonl`, one JSON object to a line. The model is written to RUN_DIR/model and
last of all RUN_DIR/manifest.json: only a run that has a manifest has an outcome. It never opens the database.

It may be killed at any moment, and started again on the same directory: it then goes on from where it was, and ends
with the same weights. A file RUN_DIR/stop asks it to stop and to keep the best that it has so far.
"""

from __future__ import annotations

import functools
import json
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from reranker import learning_curve
from reranker.averaging import move_back, weights_of
from reranker.dataset import SPLITS, JudgedQuery, LabelledPair, queries_that_tell, read_pairs
from reranker.environment import environment
from reranker.evaluation import Evaluation, compare, evaluate
from reranker.first_token import shorten
from reranker.general import general_queries
from reranker.loading import cpu_precision, tokenizer_of
from reranker.losses import MEANS_OVER_PAIRS, examples, make_loss
from reranker.measuring import Stopped, load, look_for_suspects, measure
from reranker.recipe import RECIPES
from reranker.reporter import PhaseReporter, Reporter
from reranker.run_files import RunFiles, read_json, write_json

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

# A training step on a pair costs about three times a forward pass over it: forward, and backward twice that.
TRAINING_COST = 3
MEASURED = ("dev", "test")
# The share of a training's cost that measuring it on its way may add, and how often it is measured in any case.
EVALUATION_SHARE = 0.1
MIN_EVALUATIONS = 3
MAX_EVALUATIONS = 20
SECONDS_BETWEEN_LOOKS = 0.2
# How long the processes of a training wait for each other: one of them measures while the others have nothing to do.
SECONDS_TO_WAIT = 7 * 24 * 3600


def run(run_dir: Path, stream: TextIO) -> None:
    """Measure the champion, train the challenger, save it, measure it, and write the manifest.

    What a child before this one has done already, before it was killed, is not done again.
    """
    files = RunFiles(run_dir)
    config = read_json(files.config)
    pairs = {split: read_pairs(files.pairs(split)) for split in SPLITS}
    sets = {split: queries_that_tell(pairs[split]) for split in MEASURED} | {"general": general_queries()}
    labelled = [pair for split in SPLITS for pair in pairs[split]]
    to_measure = sum(len(judged.passages) for queries in sets.values() for judged in queries)
    work = 2 * to_measure + len(labelled) + training_work(config, pairs["train"], sets["dev"])
    draw = config.get("learning_curve") and sets["dev"]
    if draw:
        work += sum(part_work(config, part, sets["dev"]) for part in learning_curve.parts(pairs["train"]))
    reporter = Reporter(stream, work)
    main = is_main_process()
    try:
        before = look_before(files, config, sets, labelled, reporter) if main else {}
        if not (files.model.is_dir() and files.trained.is_file()):
            train(config, pairs["train"], files, reporter, sets["dev"])
        else:
            done = training_work(config, pairs["train"], sets["dev"])
            reporter.skip(done)
            reporter.finish_phase(done)
        if not main:
            return
        trained = read_json(files.trained)
        challenger = look_after(files, trained, sets, reporter)
        if draw and trained["stopped"] != "cancelled":
            draw_curve(files, config, pairs["train"], sets["dev"], reporter)
    except Stopped:
        return
    write_manifest(files, config, before, challenger, pairs["train"], trained)
    reporter.event("done", note=say_stopped(trained))


def look_before(
    files: RunFiles,
    config: dict[str, Any],
    sets: dict[str, list[JudgedQuery]],
    labelled: list[LabelledPair],
    reporter: Reporter,
) -> dict[str, Any]:
    """The champion's figures, and the labels that it finds doubtful: {"champion": ..., "suspects": ...}."""
    reporter.progress("Loading the models", 0)
    if files.before.is_file() and (known := read_json(files.before))["version"] == config["champion"]:
        work = sum(len(judged.passages) for queries in sets.values() for judged in queries) + len(labelled)
        reporter.skip(work)
        reporter.finish_phase(work)
        return known
    reranker = load(Path(config["champion_path"]))
    champion = measure(reranker, sets, reporter, "Measuring the active model", files)
    suspects = look_for_suspects(reranker, labelled, reporter, files)
    before = {
        "version": config["champion"],
        "champion": {split: asdict(evaluation) for split, evaluation in champion.items()},
        "suspects": [asdict(suspect) for suspect in suspects],
    }
    write_json(files.before, before)
    return before


def look_after(
    files: RunFiles, trained: dict[str, Any], sets: dict[str, list[JudgedQuery]], reporter: Reporter
) -> dict[str, Evaluation]:
    """The new model's figures; where the run was cancelled, those that it has from its training."""
    reporter.progress("Trying out the new model", 0)
    if trained["stopped"] != "cancelled":
        try:
            return measure(load(files.model), sets, reporter, "Measuring the new model", files)
        except Stopped:
            trained["stopped"] = "cancelled"
            write_json(files.trained, trained)
    if trained["scores"]:
        return {"dev": evaluate(sets["dev"], trained["scores"])}
    # Cancelled before it was measured once. The dev set is soon measured, and says what is kept.
    return measure(load(files.model), {"dev": sets["dev"]}, reporter, "Measuring what is kept")


def draw_curve(
    files: RunFiles, config: dict[str, Any], pairs: list[LabelledPair], dev: list[JudgedQuery], reporter: Reporter
) -> None:
    """Train on growing parts of the pairs and measure each, as far as nobody asks to stop."""
    for part in learning_curve.parts(pairs):
        own = learning_curve.part_files(files, part)
        quiet = PhaseReporter(reporter, f"Learning curve: training on {len(part)} of {len(pairs)} labels")
        if not own.manifest.is_file() and not files.stop.is_file():
            own.directory.mkdir(parents=True, exist_ok=True)
            own_config = {**config, "stop_after": None, "seconds_between_checkpoints": math.inf}
            train(own_config, part, own, quiet, dev if config.get("patience") else [])
            if not files.stop.is_file():
                found = measure(load(own.model), {"dev": dev}, quiet, "")["dev"]
                learning_curve.keep_part(files, part, found)
        reporter.finish_phase(part_work(config, part, dev))


def say_stopped(trained: dict[str, Any]) -> str | None:
    """What to tell a person where a training did not go on to its end."""
    if trained["stopped"] == "early":
        return (
            f"Stopped early at step {trained['last_step']} of {trained['total_steps']}: the held-out queries were not "
            f"ranked better any more. The weights of step {trained['step']} are kept, which ranked them best."
        )
    return None


def evaluations_of(config: dict[str, Any], train: list[LabelledPair], dev: list[JudgedQuery]) -> int:
    """How often a training is measured on the dev set on its way: as often as costs a small share of its time."""
    to_score = sum(len(judged.passages) for judged in dev)
    if not to_score:
        return 0
    affordable = EVALUATION_SHARE * TRAINING_COST * config["epochs"] * len(train) / to_score
    return int(min(max(affordable, MIN_EVALUATIONS), MAX_EVALUATIONS))


def part_work(config: dict[str, Any], part: list[LabelledPair], dev: list[JudgedQuery]) -> float:
    """The cost of a point of the learning curve, in pairs that go forward once."""
    to_score = sum(len(judged.passages) for judged in dev)
    return training_work(config, part, dev if config.get("patience") else []) + to_score


def training_work(config: dict[str, Any], train: list[LabelledPair], dev: list[JudgedQuery]) -> float:
    """The cost of a training, in pairs that go forward once."""
    to_score = sum(len(judged.passages) for judged in dev)
    return TRAINING_COST * config["epochs"] * len(train) + evaluations_of(config, train, dev) * to_score


def is_main_process() -> bool:
    """Whether this process reports and measures: of several that train together, the first one."""
    return os.environ.get("RANK", "0") == "0"


def train(
    config: dict[str, Any],
    pairs: list[LabelledPair],
    files: RunFiles,
    reporter: Reporter | PhaseReporter,
    dev: list[JudgedQuery] | None = None,
) -> None:
    """Fine-tune the base model on `pairs` with sentence-transformers' own trainer, and save it with its model card.

    It is measured on `dev` on its way, and goes on from the last checkpoint where there is one. Raises Stopped when it
    was asked to stop before there was anything to keep.
    """
    import torch
    from sentence_transformers import CrossEncoder, CrossEncoderModelCardData
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments

    from reranker.watch import Watch

    recipe = RECIPES[config["recipe"]]
    loss = config.get("loss") or recipe.loss
    card = CrossEncoderModelCardData(local_files_only=True)
    model = CrossEncoder(
        config["base_path"], local_files_only=True, model_card_data=card, model_kwargs={"use_safetensors": True}
    )
    # The card would find the base only by asking the Hub; the parent knows it.
    card.base_model = config["base_name"]
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    # Only where there are several, so that the card of one process says what the plain trainer's does.
    together = {"use_cpu": not torch.cuda.is_available(), "ddp_timeout": SECONDS_TO_WAIT} if processes > 1 else {}
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(files.checkpoints),
        per_device_train_batch_size=config["batch_size"] // processes,
        per_device_eval_batch_size=config["batch_size"],
        num_train_epochs=config["epochs"],
        learning_rate=config["learning_rate"],
        warmup_steps=recipe.warmup,
        seed=config["seed"],
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        **together,
        bf16=recipe.fast and has_bfloat16(),
    )
    # With several processes it is set to leave the last batch of an epoch out; ours share that, too.
    arguments.dataloader_drop_last = False
    work = training_work(config, pairs, dev or [])
    change = None
    if recipe.kept_change < 1 and is_main_process():
        change = functools.partial(move_back, before=weights_of(model), share=recipe.kept_change)
    watch = Watch(files, config, dev or [], evaluations_of(config, pairs, dev or []), reporter, work, change)
    make_trainer = _fast_trainer(model, pairs) if recipe.fast and loss in MEANS_OVER_PAIRS else _plain_trainer()
    if recipe.fast:
        shorten(model.model)
    trainer = make_trainer(
        model=model,
        args=arguments,
        train_dataset=examples(loss, pairs),
        loss=make_loss(loss, model),
        callbacks=[watch],
    )
    last = files.last_checkpoint()
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    reporter.finish_phase(work)
    if not is_main_process():
        return
    if not watch.step:
        raise Stopped
    kept = watch.load_best(model)
    reporter.progress("Saving the new model", 0)
    unfinished = files.directory / "model.part"
    model.save_pretrained(str(unfinished))
    if not config["base_on_hub"]:
        _unlink_base(unfinished / "README.md", config["base_name"])
    write_json(files.trained, watch.summary(kept))
    shutil.rmtree(files.model, ignore_errors=True)
    unfinished.rename(files.model)


def has_bfloat16() -> bool:
    """Whether training in bfloat16 is faster than in float32 here."""
    import torch

    return torch.cuda.is_bf16_supported() if torch.cuda.is_available() else cpu_precision() == "bfloat16"


def _plain_trainer() -> Callable:
    from reranker.trainer import SharingTrainer

    return SharingTrainer


def _fast_trainer(model: CrossEncoder, pairs: list[LabelledPair]) -> Callable:
    """What makes a trainer that works through batches in parts; the pairs' tokens are counted once, before."""
    from reranker.trainer import MicroBatchTrainer

    texts = [(pair.query, pair.passage) for pair in pairs]
    tokens = dict(zip(texts, (len(pair.ids) for pair in tokenizer_of(model).encode(texts)), strict=True))
    return functools.partial(MicroBatchTrainer, count_tokens=lambda query, passage: tokens[query, passage])


def _unlink_base(card: Path, base_name: str) -> None:
    """Take the link to the base model out of a model card: it leads nowhere when the base is not on the Hub."""
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace(f"[{base_name}](https://huggingface.co/{base_name})", base_name), encoding="utf-8")


def write_manifest(
    files: RunFiles,
    config: dict[str, Any],
    before: dict[str, Any],
    challenger: dict[str, Evaluation],
    pairs: list[LabelledPair],
    trained: dict[str, Any],
) -> None:
    """Write what came out of the run, in one step: a manifest is either whole or not there."""
    champion = {split: before["champion"][split] for split in challenger}
    comparisons = {split: asdict(compare(Evaluation(**champion[split]), challenger[split])) for split in champion}
    manifest = {
        "labels": len(pairs),
        "champion": champion,
        "challenger": {split: asdict(evaluation) for split, evaluation in challenger.items()},
        "comparison": comparisons,
        "suspects": before["suspects"],
        "environment": environment(),
        "training": {name: value for name, value in trained.items() if name != "scores"},
    }
    if found := list(learning_curve.measured_parts(files, pairs)):
        # The model that the run started from has learned from no label; it was measured only if it was the champion.
        if config["base"] == config["champion"]:
            found.insert(0, learning_curve.measured([], champion["dev"]))
        found.append(learning_curve.measured(pairs, manifest["challenger"]["dev"]))
        manifest["learning_curve"] = learning_curve.curve(found)
    write_json(files.manifest, manifest)


def guarded(work: Callable[[Path, TextIO], None], run_dir: Path, stream: TextIO) -> int:
    """Do the work; an error becomes an `error` event, its traceback goes to the log. Returns the exit status."""
    try:
        work(run_dir, stream)
    except Exception as error:
        stream.write(json.dumps({"event": "error", "time": time.time(), "message": _explain(error)}) + "\n")
        stream.flush()
        import traceback

        traceback.print_exc()
        return 1
    return 0


def _explain(error: Exception) -> str:
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "The memory ran out. Try a smaller batch size."
    return f"{type(error).__name__}: {str(error).strip()[:500]}"


def end_with_launcher() -> None:
    """End this process when the one that started it and its fellows is gone: together they are one child."""
    launcher = os.getppid()
    while os.getppid() == launcher:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


if __name__ == "__main__":
    if "RANK" in os.environ:
        threading.Thread(target=end_with_launcher, daemon=True).start()
    # Answering people comes first: training takes the processor time that is left.
    os.nice(10)
    directory = Path(sys.argv[1])
    with (RunFiles(directory).events if is_main_process() else Path(os.devnull)).open("a", encoding="utf-8") as events:
        status = guarded(run, directory, events)
    sys.exit(status)
