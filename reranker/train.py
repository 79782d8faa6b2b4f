"""python -m reranker.train RUN_DIR: the child process that trains.

It gets files and gives files. RUN_DIR holds `config.json` (see `jobs.py`), `train.jsonl`, `dev.jsonl` and `test.jsonl`.
While it works, it adds events to `events.jsonl`, one JSON object to a line. The model is written to RUN_DIR/model and
last of all RUN_DIR/manifest.json: only a run that has a manifest has an outcome. It never opens the database.

It may be killed at any moment, and started again on the same directory: it then goes on from where it was, and ends
with the same weights. A file RUN_DIR/stop asks it to stop and to keep the best that it has so far.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from reranker import cross_check, learning_curve
from reranker.dataset import (
    MIN_QUERIES_TO_MEASURE,
    SPLITS,
    JudgedQuery,
    LabelledPair,
    count_given,
    count_passages,
    queries_that_tell,
    read_pairs,
)
from reranker.environment import environment
from reranker.evaluation import Evaluation, compare, evaluate
from reranker.general import general_queries
from reranker.measuring import Stopped, load, look_for_suspects, measure
from reranker.recipe import MOST_CROSS_CHECKED, recipe_of
from reranker.reporter import PhaseReporter, Reporter, write_event
from reranker.run_files import RunFiles, read_json, write_json
from reranker.training import is_main_process, loss_of, part_work, processes, train, train_part, training_work

MEASURED = ("dev", "test")
SECONDS_BETWEEN_LOOKS = 0.2


def run(run_dir: Path, stream: TextIO) -> None:
    """Measure the champion, train the challenger, save it, measure it, and write the manifest.

    What a child before this one has done already, before it was killed, is not done again.
    """
    files = RunFiles(run_dir)
    config = read_json(files.config)
    pairs = {split: read_pairs(files.pairs(split)) for split in SPLITS}
    sets = {split: queries_that_tell(pairs[split]) for split in MEASURED} | {"general": general_queries()}
    labelled = [pair for split in SPLITS for pair in pairs[split]]
    folds = folds_of(config, pairs["train"], sets["dev"])
    cross_checked = {"cross": found} if (found := cross_check.judged_queries(folds)) else {}
    to_measure = count_passages(judged for queries in sets.values() for judged in queries)
    work = 2 * to_measure + count_passages(cross_checked.get("cross", [])) + len(labelled)
    work += training_work(config, pairs["train"], sets["dev"])
    ways = cross_check.ways_of(config, files, pairs["train"])
    work += cross_check.work(ways, folds, pairs["train"], sets["dev"])
    draw = bool(config.get("learning_curve"))
    parts = learning_curve.parts(pairs["train"], loss_of(config)) if draw and sets["dev"] else []
    # Of what a model has learned already, a part of the labels says nothing: then the curve is one of its own.
    own_curve = not is_untaught(config)
    points = [*parts, pairs["train"]] if parts and own_curve else parts
    curve_config = config | {"base_path": config["untaught_path"]} if own_curve else config
    work += sum(point_work(curve_config, part, sets["dev"]) for part in points)
    reporter = Reporter(stream, work)
    main = is_main_process()
    try:
        before = look_before(files, config, sets | cross_checked, labelled, reporter) if main else {}
        if not files.is_trained():
            train(config, pairs["train"], files, reporter, sets["dev"])
        else:
            done = training_work(config, pairs["train"], sets["dev"])
            reporter.skip(done)
            reporter.finish_phase(done)
        if not main:
            return
        trained = read_json(files.trained)
        if folds and trained["stopped"] in (None, "early"):
            train_beside(files, ways, folds, pairs["train"], trained, sets["dev"], reporter)
        challenger = look_after(files, trained, sets, reporter)
        if cross_checked and trained.get("folds"):
            challenger |= {"cross": cross_check.cross_checked(ways, folds)}
        if parts and trained["stopped"] != "cancelled":
            draw_curve(files, curve_config, points, pairs["train"], sets["dev"], reporter)
    except Stopped:
        return
    write_manifest(files, config, before, challenger, parts, pairs["train"], trained)
    note = say_how(
        trained,
        sum(pair.assumed for pair in labelled),
        no_curve=draw and not parts,
        no_patience=bool(config.get("patience")) and not sets["dev"],
    )
    reporter.event("done", note=note)


def is_untaught(config: dict[str, Any]) -> bool:
    """Whether the model that the run starts from has learned from no label here."""
    return config.get("untaught_path", config["base_path"]) == config["base_path"]


def folds_of(config: dict[str, Any], pairs: list[LabelledPair], dev: list[JudgedQuery]) -> list[cross_check.Fold]:
    """The folds of a run; none where several processes train, of which only one would know what comes next, and none
    out of many labels where the held-out queries say enough by themselves."""
    if len(pairs) > MOST_CROSS_CHECKED and len(dev) >= MIN_QUERIES_TO_MEASURE:
        return []
    count = recipe_of(config).folds if processes() == 1 else 0
    return cross_check.make_folds(pairs, count, config.get("learned"), loss_of(config))


def look_before(
    files: RunFiles,
    config: dict[str, Any],
    sets: dict[str, list[JudgedQuery]],
    labelled: list[LabelledPair],
    reporter: Reporter,
) -> dict[str, Any]:
    """The champion's figures, and the labels that look doubtful: {"champion": ..., "suspects": ...}."""
    reporter.progress("Loading the models", 0)
    known = read_json(files.before) if files.before.is_file() else {"version": None}
    if known["version"] == config["champion"] and known["champion"].keys() >= {name for name in sets if sets[name]}:
        work = count_passages(judged for queries in sets.values() for judged in queries) + len(labelled)
        reporter.skip(work)
        reporter.finish_phase(work)
        return known
    reranker = load(Path(config["champion_path"]))
    champion = measure(reranker, sets, reporter, "Measuring the active model", files)
    # One that has learned from the labels has learned the wrong ones, too.
    untaught = Path(config.get("untaught_path", config["champion_path"]))
    if untaught != Path(config["champion_path"]):
        reranker = load(untaught)
    suspects = look_for_suspects(reranker, labelled, reporter, files)
    before = {
        "version": config["champion"],
        "champion": {split: asdict(evaluation) for split, evaluation in champion.items()},
        "suspects": [asdict(suspect) for suspect in suspects],
    }
    write_json(files.before, before)
    return before


def train_beside(
    files: RunFiles,
    ways: list[cross_check.Way],
    folds: list[cross_check.Fold],
    pairs: list[LabelledPair],
    trained: dict[str, Any],
    dev: list[JudgedQuery],
    reporter: Reporter,
) -> None:
    """Train the models of the folds, and put the mean of all in the place of the run's own.

    Where somebody cancels meanwhile, what the run has by itself stays.
    """
    try:
        cross_check.train_folds(ways, folds, dev, reporter)
        chosen = cross_check.choose(ways, folds)
        cross_check.train_chosen(ways, chosen, pairs, dev, reporter)
        cross_check.average_folds(files, chosen, folds)
        # What was measured on the way was the run's own model.
        trained |= {"folds": len(folds), "scores": None}
        if chosen is not ways[0]:
            trained |= {"gain_without_anchor": float(cross_check.gains_of_other(ways, folds).mean())}
    except Stopped:
        trained["stopped"] = "cancelled"
    write_json(files.trained, trained)


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
    files: RunFiles,
    config: dict[str, Any],
    parts: list[list[LabelledPair]],
    pairs: list[LabelledPair],
    dev: list[JudgedQuery],
    reporter: Reporter,
) -> None:
    """Train on these growing parts of the pairs and measure each, as far as nobody asks to stop."""
    for part in parts:
        own = learning_curve.part_files(files, part)
        quiet = PhaseReporter(reporter, f"Learning curve: training on {len(part)} of {len(pairs)} labels")
        if not own.manifest.is_file() and not files.stop.is_file():
            train_part(config, part, own, quiet, dev)
            if not files.stop.is_file():
                found = measure(load(own.model), {"dev": dev}, quiet, "")["dev"]
                learning_curve.keep_part(files, part, found)
        reporter.finish_phase(point_work(config, part, dev))
    if files.alone.is_dir() and pairs not in parts and not files.stop.is_file():
        # The parts were trained once each, so what is at the end of the curve is the model that was, too.
        reporter.progress("Learning curve: the model of all labels", 0)
        learning_curve.keep_part(files, pairs, measure(load(files.alone), {"dev": dev}, reporter, "")["dev"])


def point_work(config: dict[str, Any], part: list[LabelledPair], dev: list[JudgedQuery]) -> float:
    """The cost of a point of the learning curve, in pairs that go forward once."""
    return part_work(config, part, dev) + count_passages(dev)


def say_how(trained: dict[str, Any], assumed: int, no_curve: bool, no_patience: bool) -> str | None:
    """What to tell a person where a training did not go on to its end, or in another way than its recipe begins, where
    so many pairs are no labels, or where the learning curve or the patience that was asked for could not be had."""
    said = []
    if assumed:
        said.append(
            f"{assumed:,} pairs that nobody has judged were taken as not relevant, here and where it was measured, "
            "since of their queries only relevant passages are known."
        )
    if trained["stopped"] == "early" and trained["last_step"] < trained["total_steps"]:
        said.append(
            f"Stopped early at step {trained['last_step']} of {trained['total_steps']}: the held-out queries were not "
            "ranked better any more."
        )
    if trained["stopped"] in (None, "early") and trained["step"] < trained["last_step"]:
        said.append(
            f"The weights of step {trained['step']} are kept, which ranked the held-out queries best: how well these "
            "are ranked is rather too good a figure."
        )
    if "gain_without_anchor" in trained:
        said.append(
            "Trained again without holding on to what the model knew before, since the cross-checked queries are "
            f"ranked better that way, by {trained['gain_without_anchor']:.3f} nDCG@10 in the mean. The curves of loss "
            "and nDCG@10 are those of the first training."
        )
    if no_curve:
        said.append(
            "No learning curve was drawn: it needs held-out queries to be measured on, and enough others to train on a "
            "part of them."
        )
    if no_patience:
        said.append("Patience had no effect: there are no held-out queries to measure on meanwhile.")
    return " ".join(said) or None


def write_manifest(
    files: RunFiles,
    config: dict[str, Any],
    before: dict[str, Any],
    challenger: dict[str, Evaluation],
    parts: list[list[LabelledPair]],
    pairs: list[LabelledPair],
    trained: dict[str, Any],
) -> None:
    """Write what came out of the run, in one step: a manifest is either whole or not there."""
    champion = {split: Evaluation(**before["champion"][split]) for split in challenger}
    comparisons = {split: compare(champion[split], challenger[split]) for split in challenger}
    if "cross" in challenger:
        # Held-out queries that chose the weights say too much good of them.
        chose = config.get("patience") and len(challenger["cross"].per_query) >= MIN_QUERIES_TO_MEASURE
        judges = (lambda found: found["cross"]) if chose else held_out_or_crossed
        comparisons["judged"] = compare(judges(champion), judges(challenger))
    manifest = {
        "labels": count_given(pairs),
        "champion": {split: asdict(evaluation) for split, evaluation in champion.items()},
        "challenger": {split: asdict(evaluation) for split, evaluation in challenger.items()},
        "comparison": {split: asdict(comparison) for split, comparison in comparisons.items()},
        "suspects": before["suspects"],
        "environment": environment(),
        "training": {name: value for name, value in trained.items() if name != "scores"},
    }
    if found := list(learning_curve.measured_parts(files, parts)):
        # The model that has learned from no label was measured only if it was the champion.
        if config["base"] == config["champion"] and is_untaught(config):
            found.insert(0, learning_curve.measured([], manifest["champion"]["dev"]))
        whole = learning_curve.part_files(files, pairs).manifest
        if whole.is_file():
            found.append(read_json(whole))
        elif is_untaught(config):
            found.append(learning_curve.measured(pairs, manifest["challenger"]["dev"]))
        manifest["learning_curve"] = learning_curve.curve(found)
    write_json(files.manifest, manifest)


def held_out_or_crossed(evaluations: dict[str, Evaluation]) -> Evaluation:
    """The queries that are held back together with those that are cross-checked: all that a run is judged by."""
    both = (evaluations[split].per_query for split in ("dev", "cross") if split in evaluations)
    return Evaluation({}, {query_id: figures for per_query in both for query_id, figures in per_query.items()})


def guarded(work: Callable[[Path, TextIO], None], run_dir: Path, stream: TextIO) -> int:
    """Do the work; an error becomes an `error` event, its traceback goes to the log. Returns the exit status."""
    try:
        work(run_dir, stream)
    except Exception as error:
        write_event(stream, "error", message=_explain(error))
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
