"""What becomes of a run that has an outcome: its model gets a name, a place, a card and its figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reranker.card import add_results
from reranker.figures import by_name
from reranker.gate import decide
from reranker.registry import ModelRegistry
from reranker.run_files import RunFiles, read_json
from storage.model_store import ModelStore
from storage.records import ModelVersion, TrainingRun, now


@dataclass(frozen=True)
class Kept:
    """The version that a run has made, with its figures beside those of the version that was the champion."""

    version: ModelVersion
    champion: str
    metrics: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def training(self) -> dict[str, Any]:
        return self.manifest.get("training", {})

    @property
    def cancelled(self) -> bool:
        """Whether this is what a training had when it was cancelled."""
        return self.training.get("stopped") == "cancelled"

    def decide(self, promote: str, cancelled: bool, answers: str) -> tuple[bool, str]:
        """Whether the version is to be promoted, and the outcome in a sentence for a person.

        `cancelled` says that somebody cancelled the run, which may have been too late to stop its training; `answers`
        is the version that is active now.
        """
        name = self.version.version
        if self.cancelled and self.training.get("folds"):
            return False, f"Cancelled when it was trained already: {name} is kept, not promoted."
        if self.cancelled:
            return (
                False,
                f"Cancelled at step {self.training['last_step']} of {self.training['total_steps']}. {self._best()}",
            )
        if cancelled:
            return False, f"Cancelled when it was done already: {name} is kept, not promoted."
        if promote == "auto" and answers not in (self.champion, name):
            return False, (
                f"{self.champion} was active when this run began, so {name} was measured against that; {answers} is "
                "active now. Not promoted automatically: compare the two on the Models tab."
            )
        return decide(promote, self.manifest["comparison"])  # type: ignore[arg-type]

    def _best(self) -> str:
        name, step, measured = self.version.version, self.training["step"], self.manifest["challenger"].get("dev")
        if not measured:
            return f"Its weights are kept as {name}, unmeasured. You can promote it on the Models tab."
        score = measured["metrics"]["ndcg@10"]
        which = "The best weights so far" if step != self.training["last_step"] else "Its weights"
        return (
            f"{which}, of step {step} with nDCG@10 {score:.3f} on the held-out queries, are kept as {name}. "
            "You can promote it on the Models tab."
        )


def keep(
    run: TrainingRun, files: RunFiles, manifest: dict[str, Any], models: ModelStore, registry: ModelRegistry
) -> Kept:
    """Make the run's model a version with its figures. May be done again after a crash in its middle."""
    version = _version_of(run, files, manifest, models, registry)
    champion = read_json(files.config)["champion"]
    for who, name in (("champion", champion), ("challenger", version.version)):
        for split, result in manifest[who].items():
            models.add_evaluation(run.id, name, split, result["metrics"], result["per_query"])
    return Kept(version, champion, {who: by_name(manifest[who]) for who in ("champion", "challenger")}, manifest)


def _version_of(
    run: TrainingRun, files: RunFiles, manifest: dict[str, Any], models: ModelStore, registry: ModelRegistry
) -> ModelVersion:
    """Choose a name, move the model to its place, note it down, in this order.

    The name is stored first, so that whoever repeats this after a crash knows which directory is this run's.
    """
    name = run.model_version or registry.next_name()
    models.update_run(run.id, model_version=name)
    place = registry.models_dir / name
    if files.model.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        files.model.rename(place)
    base = models.version(run.config["base"], deleted=True)
    full_name = f"{registry.root(base).name.split('/')[-1]}-{name}"
    add_results(place / "README.md", full_name, manifest)
    version = ModelVersion(
        version=name,
        name=full_name,
        source="trained",
        location=None,
        base=base.version,
        run_id=run.id,
        labels=manifest["labels"],
        metrics=by_name(manifest["challenger"]),
        created_at=now(),
    )
    models.add_version(version)
    return version
