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
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from reranker import cross_check
from reranker.dataset import (
    HELD_OUT,
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
from reranker.learning_curve import PlannedCurve
from reranker.measuring import LOADING, Stopped, load, look_for_suspects, measure
from reranker.recipe import MOST_CROSS_CHECKED, recipe_of
from reranker.reporter import Reporter, write_event
from reranker.run_files import RunFiles, read_json, write_json
from reranker.side_by_side import Part, side_by_side
from reranker.training import is_main_process, loss_of, processes, train, training_work

SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class RunPlan:
    """What a run does, all of which its files say before it begins: a child that goes on with it plans the same."""

    files: RunFiles
    config: dict[str, Any]
    pairs: dict[str, list[LabelledPair]]
    folds: list[cross_check.Fold]
    ways: list[cross_check.Way]
    curve: PlannedCurve | None

    @classmethod
    def of(cls, files: RunFiles) -> RunPlan:
        """The plan of the run with these files."""
        config = read_json(files.config)
        pairs = {split: read_pairs(files.pairs(split)) for split in SPLITS}
        dev = queries_that_tell(pairs["dev"])
        ways = cross_check.ways_of(config, files, pairs["train"])
        curve = PlannedCurve.of(config, files, pairs["train"], dev)
        return cls(files, config, pairs, folds_of(config, pairs["train"], dev), ways, curve)

    @property
    def train(self) -> list[LabelledPair]:
        return self.pairs["train"]

    @property
    def labelled(self) -> list[LabelledPair]:
        return [pair for split in SPLITS for pair in self.pairs[split]]

    @cached_property
    def dev(self) -> list[JudgedQuery]:
        return self.measured["dev"]

    @cached_property
    def measured(self) -> dict[str, list[JudgedQuery]]:
        """The queries that both models are measured on, by set."""
        return {split: queries_that_tell(self.pairs[split]) for split in HELD_OUT} | {"general": general_queries()}

    @cached_property
    def cross_checked(self) -> dict[str, list[JudgedQuery]]:
        """Those besides that the champion is measured on, and the models of the folds."""
        return {"cross": found} if (found := cross_check.judged_queries(self.folds)) else {}

    @property
    def parts(self) -> list[Part]:
        """The trainings that may go on beside the run's own, which has the longest."""
        if not self.folds:
            return []
        return cross_check.parts_of(self.ways, self.folds, self.dev) + (self.curve.to_train() if self.curve else [])

    @property
    def work(self) -> float:
        """The cost of it all, in pairs that are scored."""
        beside = cross_check.work(self.ways, self.folds, self.train, self.dev) + (self.curve.work if self.curve else 0)
        return self.work_before + self.work_alone + beside + LOADING + _count(self.measured)

    @property
    def work_before(self) -> float:
        """The cost of looking at the champion and at the labels."""
        return _count(self.measured) + _count(self.cross_checked) + len(self.labelled)

    @property
    def work_alone(self) -> float:
        """The cost of training the run's own model."""
        return training_work(self.config, self.train, self.dev)

    @property
    def work_done(self) -> float:
        """How much of the work a child before this one has done; of a training that goes on, Watch knows."""
        before = self.work_before if known_before(self) else 0
        alone = self.work_alone if self.files.is_trained() else 0
        folds = cross_check.work_done(self.ways, self.folds, self.train, self.dev)
        return before + alone + folds + (self.curve.work_done if self.curve else 0)


def _count(sets: dict[str, list[JudgedQuery]]) -> int:
    return count_passages(judged for queries in sets.values() for judged in queries)


def run(run_dir: Path, stream: TextIO) -> None:
    """Measure the champion, train the challenger, save it, measure it, and write the manifest.

    What a child before this one has done already, before it was killed, is not done again.
    """
    plan = RunPlan.of(RunFiles(run_dir))
    files, reporter = plan.files, Reporter(stream, plan.work, plan.work_done)
    try:
        before = look_before(plan, reporter) if is_main_process() else {}
        train_all(plan, reporter)
        if not is_main_process():
            return
        trained = read_json(files.trained)
        if plan.folds and trained["stopped"] in (None, "early"):
            average_with_folds(plan, trained, reporter)
        challenger = look_after(plan, trained, reporter)
        if plan.curve and trained["stopped"] != "cancelled":
            plan.curve.draw(reporter)
    except Stopped:
        return
    write_manifest(plan, before, challenger, trained)
    reporter.event("done", note=say_how(plan, trained))


def folds_of(config: dict[str, Any], pairs: list[LabelledPair], dev: list[JudgedQuery]) -> list[cross_check.Fold]:
    """The folds of a run; none where several processes train, of which only one would know what comes next, and none
    out of many labels where the held-out queries say enough by themselves."""
    if len(pairs) > MOST_CROSS_CHECKED and len(dev) >= MIN_QUERIES_TO_MEASURE:
        return []
    count = recipe_of(config).folds if processes() == 1 else 0
    return cross_check.make_folds(pairs, count, config.get("learned"), loss_of(config))


def look_before(plan: RunPlan, reporter: Reporter) -> dict[str, Any]:
    """The champion's figures, and the labels that look doubtful: {"champion": ..., "suspects": ...}."""
    files, config, sets = plan.files, plan.config, plan.measured | plan.cross_checked
    reporter.progress("Loading the models", 0)
    if known := known_before(plan):
        reporter.finish_phase(plan.work_before)
        return known
    reranker = load(Path(config["champion_path"]))
    champion = measure(reranker, sets, reporter, "Measuring the active model", files)
    # One that has learned from the labels has learned the wrong ones, too.
    untaught = Path(config.get("untaught_path", config["champion_path"]))
    if untaught != Path(config["champion_path"]):
        reranker = load(untaught)
    suspects = look_for_suspects(reranker, plan.labelled, reporter, files)
    before = {
        "version": config["champion"],
        "champion": {split: asdict(evaluation) for split, evaluation in champion.items()},
        "suspects": [asdict(suspect) for suspect in suspects],
    }
    write_json(files.before, before)
    return before


def known_before(plan: RunPlan) -> dict[str, Any] | None:
    """What a child before this one has seen of the champion, where it is the same and all of it is there: a query may
    have become one that was learned from meanwhile, by a correction of its text."""
    known = read_json(plan.files.before) if plan.files.before.is_file() else {"version": None}
    if known["version"] != plan.config["champion"]:
        return None
    sets = plan.measured | plan.cross_checked
    wanted = {name: {judged.query_id for judged in queries} for name, queries in sets.items() if queries}
    found = {name: set(evaluation["per_query"]) for name, evaluation in known["champion"].items()}
    return known if found == wanted else None


def train_all(plan: RunPlan, reporter: Reporter) -> None:
    """Train the run's own model, where that is not done yet; where there are cores for it, the others beside it."""
    with side_by_side(plan.parts, Path(plan.config["base_path"])) as crew:
        reporter.beside = crew.work_done
        if plan.files.is_trained():
            reporter.finish_phase(plan.work_alone)
        else:
            train(plan.config, plan.train, plan.files, reporter, plan.dev)
        if plan.folds and read_json(plan.files.trained)["stopped"] in (None, "early"):
            crew.work_through(reporter, "Cross-checking, and the learning curve" if plan.curve else "Cross-checking")
    reporter.beside = lambda: 0


def average_with_folds(plan: RunPlan, trained: dict[str, Any], reporter: Reporter) -> None:
    """Train the models of the folds, where that is not done yet, and put the mean of all in the place of the run's own.

    Where somebody cancels meanwhile, what the run has by itself stays.
    """
    try:
        cross_check.train_folds(plan.ways, plan.folds, plan.dev, reporter)
        chosen = cross_check.choose(plan.ways, plan.folds)
        cross_check.train_chosen(plan.ways, chosen, plan.train, plan.dev, reporter)
        cross_check.average_folds(plan.files, chosen, plan.folds)
        # What was measured on the way was the run's own model.
        trained |= {"folds": len(plan.folds), "scores": None}
        if chosen is not plan.ways[0]:
            gains = cross_check.gains_of_other(plan.ways, plan.folds)
            trained |= {"gain_without_anchor": float(gains.mean())}
    except Stopped:
        trained["stopped"] = "cancelled"
    write_json(plan.files.trained, trained)


def look_after(plan: RunPlan, trained: dict[str, Any], reporter: Reporter) -> dict[str, Evaluation]:
    """The new model's figures, and those of the folds' models; where the run was cancelled, those that it has from its
    training."""
    found = measure_new(plan, trained, reporter)
    if plan.cross_checked and trained.get("folds"):
        found |= {"cross": cross_check.cross_checked(plan.ways, plan.folds)}
    return found


def measure_new(plan: RunPlan, trained: dict[str, Any], reporter: Reporter) -> dict[str, Evaluation]:
    """The figures of the model that the run keeps."""
    files = plan.files
    reporter.progress("Trying out the new model", 0)
    if trained["stopped"] != "cancelled":
        try:
            return measure(load(files.model, reporter), plan.measured, reporter, "Measuring the new model", files)
        except Stopped:
            trained["stopped"] = "cancelled"
            write_json(files.trained, trained)
    if trained["scores"]:
        return {"dev": evaluate(plan.dev, trained["scores"])}
    # Cancelled before it was measured once. The dev set is soon measured, and says what is kept.
    return measure(load(files.model), {"dev": plan.dev}, reporter, "Measuring what is kept")


def say_how(plan: RunPlan, trained: dict[str, Any]) -> str | None:
    """What to tell a person where a training did not go on to its end, or in another way than its recipe begins, where
    pairs are no labels, or where the learning curve or the patience that was asked for could not be had."""
    assumed = sum(pair.assumed for pair in plan.labelled)
    said = []
    if assumed:
        said.append(
            f"{assumed:,} pairs that nobody has judged were taken as not relevant, here and where it was measured, "
            "since of their queries only relevant passages are known."
        )
    if left_out := plan.config.get("learned_before", 0):
        what = "query was" if left_out == 1 else "queries were"
        said.append(
            f"{left_out:,} held-out {what} not measured: the model that it starts from, or the active one, has learned "
            "from the same question before, maybe in other words."
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
    if plan.config.get("learning_curve") and not plan.curve:
        said.append(
            "No learning curve was drawn: it needs held-out queries to be measured on, and enough others to train on a "
            "part of them."
        )
    if plan.config.get("patience") and not plan.dev:
        said.append("Patience had no effect: there are no held-out queries to measure on meanwhile.")
    return " ".join(said) or None


def write_manifest(
    plan: RunPlan, before: dict[str, Any], challenger: dict[str, Evaluation], trained: dict[str, Any]
) -> None:
    """Write what came out of the run, in one step: a manifest is either whole or not there."""
    champion = {split: Evaluation(**before["champion"][split]) for split in challenger}
    comparisons = {split: compare(champion[split], challenger[split]) for split in challenger}
    if "cross" in challenger:
        # Held-out queries that chose the weights say too much good of them.
        chose = plan.config.get("patience") and len(challenger["cross"].per_query) >= MIN_QUERIES_TO_MEASURE
        judges = (lambda found: found["cross"]) if chose else held_out_or_crossed
        comparisons["judged"] = compare(judges(champion), judges(challenger))
    manifest = {
        "labels": count_given(plan.train),
        "champion": {split: asdict(evaluation) for split, evaluation in champion.items()},
        "challenger": {split: asdict(evaluation) for split, evaluation in challenger.items()},
        "comparison": {split: asdict(comparison) for split, comparison in comparisons.items()},
        "suspects": before["suspects"],
        "environment": environment(),
        "training": {name: value for name, value in trained.items() if name != "scores"},
    }
    if plan.curve and (drawn := plan.curve.drawn(manifest["champion"]["dev"], manifest["challenger"]["dev"])):
        manifest["learning_curve"] = drawn
    write_json(plan.files.manifest, manifest)


def held_out_or_crossed(evaluations: dict[str, Evaluation]) -> Evaluation:
    """The queries that are held out together with those that are cross-checked: all that a run is judged by."""
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


def share_cores() -> None:
    """Compute with no more threads than this process has cores, of those that its container may use: each thread waits
    for the others, and where some have to wait for their turn, all do."""
    import joblib
    import torch

    torch.set_num_threads(max(1, min(torch.get_num_threads(), joblib.cpu_count() // processes())))


if __name__ == "__main__":
    if "RANK" in os.environ:
        threading.Thread(target=end_with_launcher, daemon=True).start()
    # Answering people comes first: training takes the processor time that is left.
    os.nice(10)
    share_cores()
    directory = Path(sys.argv[1])
    with (RunFiles(directory).events if is_main_process() else Path(os.devnull)).open("a", encoding="utf-8") as events:
        status = guarded(run, directory, events)
    sys.exit(status)
