"""A learning curve: how good the model becomes with a part of the labels, and what more of them would likely bring.

The same training is done with growing parts of the training queries, each within the next, and each model is measured
on the same dev queries. Through the points goes the line nDCG@10 = a + b ln(labels), the simplest of the curves that
learning is known to follow over a range of a few doublings (Figueroa et al., 2012, BMC Medical Informatics and Decision
Making 12:8, compare such fits). What the next labels bring is its slope, b ln((n + more) / n), with an interval that
counts both how much the points scatter around the line and how much the dev queries differ among each other.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import linregress, t

from reranker.curve import CurvePoint, Outlook
from reranker.dataset import MIN_QUERIES_TO_MEASURE, JudgedQuery, LabelledPair, count_given, count_passages
from reranker.evaluation import bounds_of_mean
from reranker.losses import can_learn
from reranker.measuring import LOADING, load, measure
from reranker.recipe import DEFAULT
from reranker.reporter import PhaseReporter, Reporter
from reranker.run_files import RunFiles, read_json, write_json
from reranker.side_by_side import Part
from reranker.training import loss_of

PARTS = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
MORE = 50
# A line through fewer points says nothing about how far to trust it.
MIN_POINTS = 4
CONFIDENCE = 0.9
# A gain in nDCG@10 that is too small to label for.
LITTLE = 0.002


def parts(pairs: list[LabelledPair], loss: str = DEFAULT.loss) -> list[list[LabelledPair]]:
    """Growing parts of the pairs, by query, each within the next; those that nothing can be learned from with the loss
    of this name are left out.

    Which query comes when is decided by a hash of its text: the same each time, and no matter when it was labelled.
    """
    order = sorted({(hashlib.sha256(pair.query.encode()).digest(), pair.query_id) for pair in pairs})
    place = {query_id: number for number, (_, query_id) in enumerate(order)}
    found = []
    for share in PARTS:
        part = [pair for pair in pairs if place[pair.query_id] < math.ceil(share * len(order))]
        if can_learn(loss, part) and len(part) < len(pairs) and part not in found:
            found.append(part)
    return found


@dataclass(frozen=True)
class PlannedCurve:
    """The learning curve that a run draws: the parts of its pairs, and how each is trained.

    It is of the model that the run starts from; of what that one has learned already, a part of the labels says
    nothing, so then all points are trained anew, from what it was first made from.
    """

    files: RunFiles
    config: dict[str, Any]
    pairs: list[LabelledPair]
    dev: list[JudgedQuery]
    parts: list[list[LabelledPair]]
    is_untaught: bool

    @classmethod
    def of(
        cls, config: dict[str, Any], files: RunFiles, pairs: list[LabelledPair], dev: list[JudgedQuery]
    ) -> PlannedCurve | None:
        """The curve of a run with this configuration; None where none was asked for, or none can be drawn."""
        if not config.get("learning_curve") or not dev or not (found := parts(pairs, loss_of(config))):
            return None
        untaught = config.get("untaught_path", config["base_path"])
        is_untaught = untaught == config["base_path"]
        return cls(files, config | {"base_path": untaught}, pairs, dev, found, is_untaught)

    @property
    def trained(self) -> list[list[LabelledPair]]:
        """The parts that are trained for the curve; all pairs are, too, where the run's own model is no point of it."""
        return self.parts if self.is_untaught else [*self.parts, self.pairs]

    @property
    def work(self) -> float:
        """The cost of it, in pairs that are scored."""
        whole = self._measuring if self.is_untaught else 0
        return sum(map(self._work, self.trained)) + whole

    @property
    def work_done(self) -> float:
        """How much of it is done already."""
        return sum(self._work(part) for part in self.trained if self._files(part).manifest.is_file())

    def _work(self, pairs: list[LabelledPair]) -> float:
        return self._part(pairs).work + self._measuring

    @property
    def _measuring(self) -> float:
        return LOADING + count_passages(self.dev)

    def to_train(self) -> list[Part]:
        """The trainings on growing parts of the labels."""
        return [self._part(pairs) for pairs in self.trained]

    def _part(self, pairs: list[LabelledPair]) -> Part:
        return Part(self.config, pairs, self._files(pairs), self.dev)

    def draw(self, reporter: Reporter) -> None:
        """Train on the growing parts and measure each, as far as it is not done and nobody asks to stop."""
        for pairs in self.trained:
            part = self._part(pairs)
            labels = f"{count_given(pairs)} of {count_given(self.pairs)} labels"
            quiet = PhaseReporter(reporter, f"Learning curve: training on {labels}")
            if not part.files.manifest.is_file() and not self._is_to_stop():
                if not part.is_done:
                    part.train(quiet)
                if not self._is_to_stop():
                    self._keep(pairs, part.files.model, quiet)
            reporter.finish_phase(self._work(pairs))
        alone, whole = self.files.alone, PhaseReporter(reporter, "Learning curve: the model of all labels")
        whole.progress("", 0)
        if alone.is_dir() and self.is_untaught and not self._is_to_stop():
            # The parts were trained once each, so what is at the end of the curve is the model that was, too.
            self._keep(self.pairs, alone, whole)
        reporter.finish_phase(self._measuring if self.is_untaught else 0)
        reporter.progress(whole.phase, 0)

    def _is_to_stop(self) -> bool:
        return self.files.stop.is_file()

    def _files(self, part: list[LabelledPair]) -> RunFiles:
        """Where a part is trained."""
        return self.files.part("curve", str(len(part)))

    def _keep(self, part: list[LabelledPair], model: Path, reporter: PhaseReporter) -> None:
        """Measure the model of a part, and note it down."""
        figures = measure(load(model, reporter), {"dev": self.dev}, reporter, "")["dev"]
        own = self._files(part)
        # All pairs are a part that is not trained there.
        own.directory.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(own.model, ignore_errors=True)
        write_json(own.manifest, measured(part, asdict(figures)))

    def drawn(self, champion: dict[str, Any], challenger: dict[str, Any]) -> dict[str, Any] | None:
        """The curve as a value for the manifest, from what was measured by now, and from what the champion and the
        run's own model have on the dev set; None where no part was measured."""
        found = [read_json(path) for part in self.parts if (path := self._files(part).manifest).is_file()]
        if not found:
            return None
        # The model that has learned from no label was measured only if it was the champion.
        if self.is_untaught and self.config["base"] == self.config["champion"]:
            found.insert(0, measured([], champion))
        whole = self._files(self.pairs).manifest
        if whole.is_file():
            found.append(read_json(whole))
        elif self.is_untaught:
            found.append(measured(self.pairs, challenger))
        return curve(found)


def measured(part: list[LabelledPair], dev: dict[str, Any]) -> dict[str, Any]:
    """A part's labels, its queries and each dev query's nDCG@10."""
    return {
        "labels": count_given(part),
        "queries": len({pair.query_id for pair in part}),
        "ndcg": {query_id: figures["ndcg@10"] for query_id, figures in dev["per_query"].items()},
    }


def curve(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The points and the outlook of what `measured` says of each part, as a value for the manifest."""
    ids = list(found[0]["ndcg"]) if found else []
    table = np.array([[part["ndcg"][query_id] for query_id in ids] for part in found])
    labels = [part["labels"] for part in found]
    points = []
    for part, values in zip(found, table, strict=True):
        low, high = bounds_of_mean(values, 0.95) if len(ids) > 1 else (values[0], values[0])
        points.append(CurvePoint(part["labels"], part["queries"], float(values.mean()), float(low), float(high)))
    learned = [number for number, count in enumerate(labels) if count]
    outlook = look_ahead([labels[number] for number in learned], table[learned])
    return {"points": [asdict(point) for point in points], "outlook": asdict(outlook)}


def look_ahead(labels: list[int], ndcg: np.ndarray, more: int = MORE) -> Outlook:
    """What `more` labels would bring, from the nDCG@10 of each dev query (columns) at so many labels (rows)."""
    if len(labels) < MIN_POINTS:
        return _unknown(more, "the training queries are too few to be parted")
    if ndcg.shape[1] < MIN_QUERIES_TO_MEASURE:
        return _unknown(more, "the held-out queries are too few")
    amount = np.log(labels)
    line = linregress(amount, ndcg.mean(axis=1))
    # The slope is linear in the values, so that of the mean is the mean of each query's own.
    weights = (amount - amount.mean()) / ((amount - amount.mean()) ** 2).sum()
    slopes = weights @ ndcg
    # Points that are all equal have no scatter, for which scipy says that it is not a number.
    error = math.hypot(np.nan_to_num(line.stderr), slopes.std(ddof=1) / math.sqrt(len(slopes)))
    reach = t.ppf((1 + CONFIDENCE) / 2, len(labels) - 2) * error
    now = max(labels)
    room = 1 - float(ndcg[int(np.argmax(labels))].mean())
    gain, low, high = (
        min(float(slope * math.log((now + more) / now)), room)
        for slope in (line.slope, line.slope - reach, line.slope + reach)
    )
    return Outlook(more, gain, low, high, _say(more, gain, low, high))


def _unknown(more: int, why: str) -> Outlook:
    return Outlook(more, None, None, None, f"What another {more} labels would bring cannot be told: {why}.")


def _say(more: int, gain: float, low: float, high: float) -> str:
    between = f"between {low:+.3f} and {high:+.3f} nDCG@10, with {CONFIDENCE:.0%} confidence".replace("%", " %")
    if high < LITTLE:
        return f"Another {more} labels would likely bring little or nothing: {between}."
    if low > 0:
        return f"Another {more} labels would likely bring {gain:+.3f} nDCG@10: {between}."
    return f"It cannot be told yet whether another {more} labels would bring anything: {between}."
