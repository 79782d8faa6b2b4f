"""The part of the store that belongs to models: versions, which one is active, training runs and their evaluations."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from errors import Conflict, NotFound
from storage import database
from storage.records import ModelEvent, ModelVersion, TrainingRun, now

JSON_COLUMNS = ("config", "metrics")
UNDER_WAY = "Another training run is under way. Wait until it ends, or cancel it."


class ModelStore:
    """Reads and writes model versions and training runs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # Versions

    def add_version(self, version: ModelVersion) -> None:
        """Add a version, or bring the one of that name up to date."""
        with database.write(self.path) as db:
            db["model_versions"].upsert(_to_row(version), pk="version")

    def versions(self) -> list[ModelVersion]:
        """Every version that was not deleted, newest first."""
        return [version for version in self.all_versions() if not version.deleted_at]

    def all_versions(self) -> list[ModelVersion]:
        """Every version, newest first, with what is left of the deleted ones."""
        with database.read(self.path) as db:
            rows = db.query("SELECT * FROM model_versions ORDER BY created_at DESC, rowid DESC")
            return [_from_row(ModelVersion, row) for row in rows]

    def version(self, version: str, deleted: bool = False) -> ModelVersion:
        """The version of that name; a deleted one only if those are asked for as well. Raises NotFound."""
        with database.read(self.path) as db:
            for row in db.query("SELECT * FROM model_versions WHERE version = ?", [version]):
                found = _from_row(ModelVersion, row)
                if found.deleted_at and not deleted:
                    raise NotFound(f"Model version {version} was deleted on {found.deleted_at[:10]}.")
                return found
        raise NotFound(
            f"There is no model version {version!r}. The Models tab and GET /v1/models list those there are."
        )

    def delete_version(self, version: str) -> None:
        """Note that a version was deleted."""
        with database.write(self.path) as db:
            db["model_versions"].update(version, {"deleted_at": now()})

    def add_model_event(self, event: ModelEvent) -> None:
        """Record that another version became the active one."""
        with database.write(self.path) as db:
            db["model_events"].insert(asdict(event))

    def model_events(self) -> list[ModelEvent]:
        """Every change of the active version, oldest first."""
        columns = ", ".join(field.name for field in fields(ModelEvent))
        with database.read(self.path) as db:
            return [ModelEvent(*row) for row in db.conn.execute(f"SELECT {columns} FROM model_events ORDER BY id")]

    # Training runs

    def add_run(self, run: TrainingRun) -> None:
        """Add a run that is about to start. Raises Conflict while another one is under way."""
        try:
            with database.write(self.path) as db:
                db["training_runs"].insert(_to_row(run), pk="id")
        except sqlite3.IntegrityError as error:
            raise Conflict(UNDER_WAY) from error

    def update_run(self, run_id: str, **columns: Any) -> TrainingRun:
        """Set these columns of a run and return the run as it is then."""
        columns = {name: json.dumps(value) if name in JSON_COLUMNS else value for name, value in columns.items()}
        with database.write(self.path) as db:
            db["training_runs"].update(run_id, columns)
        return self.run(run_id)

    def run(self, run_id: str) -> TrainingRun:
        """The run with that id. Raises NotFound."""
        with database.read(self.path) as db:
            for row in db.query("SELECT * FROM training_runs WHERE id = ?", [run_id]):
                return _from_row(TrainingRun, row)
        raise NotFound(f"There is no training run {run_id!r}.")

    def has_run(self, run_id: str) -> bool:
        """Whether there is a run with that id."""
        with database.read(self.path) as db:
            return db.conn.execute("SELECT 1 FROM training_runs WHERE id = ?", [run_id]).fetchone() is not None

    def reopen_run(self, run_id: str, note: str) -> TrainingRun:
        """Put a run that has ended back to its start. Raises Conflict while one is under way, itself or another."""
        columns = {"status": "queued", "phase": "waiting to start", "note": note}
        columns |= dict.fromkeys(("outcome", "error", "finished_at", "pid", "pid_started", "seconds_left"))
        try:
            with database.write(self.path) as db:
                if db["training_runs"].get(run_id)["status"] in ("queued", "running"):
                    raise Conflict(UNDER_WAY)
                db["training_runs"].update(run_id, columns)
        except sqlite3.IntegrityError as error:
            raise Conflict(UNDER_WAY) from error
        return self.run(run_id)

    def runs(self, limit: int = 50, under_way: bool = False) -> list[TrainingRun]:
        """The latest runs, newest first; with `under_way` only those that have not ended."""
        which = "WHERE status IN ('queued', 'running')" if under_way else ""
        sql = f"SELECT * FROM training_runs {which} ORDER BY created_at DESC, rowid DESC LIMIT ?"
        with database.read(self.path) as db:
            return [_from_row(TrainingRun, row) for row in db.query(sql, [limit])]

    def add_events(self, run_id: str, events: list[dict[str, Any]]) -> None:
        """Append what the child process of a run reported."""
        rows = [{"run_id": run_id, "event": json.dumps(event), "created_at": now()} for event in events]
        with database.write(self.path) as db:
            db["training_events"].insert_all(rows)

    def events(self, run_id: str) -> list[dict[str, Any]]:
        """Everything that the child process of a run reported, in order."""
        sql = "SELECT event FROM training_events WHERE run_id = ? ORDER BY id"
        with database.read(self.path) as db:
            return [json.loads(event) for (event,) in db.conn.execute(sql, [run_id])]

    def add_evaluation(
        self, run_id: str, version: str, split: str, metrics: dict[str, float], per_query: dict[str, Any]
    ) -> None:
        """Keep the figures of one model on one set, and those of each query, in place of earlier ones."""
        with database.write(self.path) as db:
            db["evaluations"].insert(
                {
                    "run_id": run_id,
                    "version": version,
                    "split": split,
                    "metrics": json.dumps(metrics),
                    "per_query": json.dumps(per_query),
                    "created_at": now(),
                },
                replace=True,
            )


def _to_row(record: ModelVersion | TrainingRun) -> dict[str, Any]:
    return {name: json.dumps(value) if name in JSON_COLUMNS else value for name, value in asdict(record).items()}


def _from_row(kind: type, row: dict[str, Any]) -> Any:
    values = {name: json.loads(value) if name in JSON_COLUMNS else value for name, value in row.items()}
    if "promoted" in values:
        values["promoted"] = bool(values["promoted"])
    return kind(**values)
