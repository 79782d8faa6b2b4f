"""Which model answers. Loads it behind the page, swaps it without a failed request, and keeps the history.

The active model is one reference. A new one is loaded and tried beside it; then the promotion is committed to the
store, then the reference is swapped. Whoever took the old reference before finishes on the old model.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from errors import Conflict, InvalidInput, ModelNotReady, NotFound, UnusableModel, WorkbenchError, first_line
from hub_names import bare_id, check_repo_id
from reranker.engine import Plan
from reranker.history import stack_of
from reranker.model import Reranker
from reranker.run_files import files_in
from reranker.sources import PATIENT_SECONDS, STARTER_DIR, FoundModel, cached_snapshot, find_model, from_hub, starter
from storage.model_store import ModelStore
from storage.records import ModelEvent, ModelVersion, now

log = logging.getLogger(__name__)

LOAD_SECONDS = 120
# What asks for the active version, whichever it is: clients that have to name a model name this.
ACTIVE = "active"


@dataclass(frozen=True)
class ActiveModel:
    """The model that answers, and the version it is."""

    version: ModelVersion
    reranker: Reranker


@dataclass(frozen=True)
class ModelStatus:
    """What the page and /health say about the model. `message` is empty when there is nothing to add.

    `engine` is how the active model's pairs are scored, and `engine_reason` says why that way.
    """

    loading: bool
    message: str
    version: ModelVersion | None
    engine: Plan | None
    engine_reason: str


class ModelRegistry:
    """Model versions by name, and the active one."""

    def __init__(
        self,
        store: ModelStore,
        models_dir: Path,
        wanted: str,
        load: Callable[..., Reranker] = Reranker,
        max_bytes: float = math.inf,
    ) -> None:
        """`wanted` is the setting RERANKER_MODEL; `models_dir` holds one directory for each trained version.

        `load` makes a model directory ready to score; `max_bytes` is how much room all the directories may take.
        """
        self.store = store
        self._load_directory = load
        self.models_dir = models_dir
        self.wanted = wanted
        self.max_bytes = max_bytes
        self._active: ActiveModel | None = None
        self._loaded = threading.Event()
        self._message = "The model is being loaded."
        self._notice = ""
        self._swap = threading.Lock()
        self._other: ActiveModel | None = None
        self._other_lock = threading.Lock()

    # Loading

    def start(self) -> None:
        """Load the model in the background; returns at once."""
        threading.Thread(target=self._load_first, name="load-model", daemon=True).start()

    def stop(self) -> None:
        """Let go of the models; what is prepared for them in the background ends first."""
        for model in (self._active, self._other):
            if model is not None:
                model.reranker.close()

    def _load_first(self) -> None:
        promoted = False
        try:
            promoted = self._load_promoted()
            if not promoted:
                self._load_wanted()
        except Exception as error:
            log.exception("No model could be loaded")
            self._message = f"No model could be loaded: {error}"
        finally:
            self._loaded.set()
        if promoted:
            # The model of the settings does not answer then, but it can be chosen on the Models tab.
            self._register(find_model(self.wanted, log.info))

    def _load_promoted(self) -> bool:
        """Load the version that was made active last; False where there is none, or it cannot be loaded any more."""
        stack = self._stack()
        if not stack:
            return False
        try:
            version = self.store.version(stack[-1])
            if version.source == "hub":
                # It was asked for on the page, and the disk may be another one since.
                from_hub(version.location or "", self._report)
            self._active = self._load(version)
        except WorkbenchError as error:
            log.warning("The active version cannot be loaded: %s", error)
            self._notice = f"The active version cannot be loaded ({error}), so another model answers. "
            return False
        self._message = self._starter_notice(version)
        return True

    def _load_wanted(self) -> None:
        """Load the model that the settings name, or the starter where that is not to be had."""
        found = find_model(self.wanted, self._report)
        try:
            reranker = self._try_found(found)
        except UnusableModel as error:
            found = starter(str(error))
            reranker = self._try(found.path)
        self._active = ActiveModel(self._register(found), reranker)
        self._message = self._notice + (f"The built-in starter model answers: {found.notice}" if found.notice else "")

    def _register(self, found: FoundModel) -> ModelVersion:
        """Give a model that was not trained here its version, the same one each time the app starts."""
        version = ModelVersion(
            version=_version_name(found),
            name=found.name,
            source=found.source,
            location=found.location,
            base=None,
            run_id=None,
            labels=0,
            metrics={},
            created_at=now(),
        )
        known = self._version_or_none(version.version)
        if known:
            version = replace(version, created_at=known.created_at)
        self.store.add_version(version)
        return version

    def _report(self, message: str) -> None:
        self._message = message

    def _starter_notice(self, version: ModelVersion) -> str:
        return "The built-in starter model answers, by choice." if version.source == "starter" else ""

    def _try(self, path: Path) -> Reranker:
        reranker = self._load_directory(path)
        try:
            reranker.smoke_test()
        except BaseException as error:
            # Nobody will use what would be prepared.
            reranker.give_up_preparing()
            if isinstance(error, WorkbenchError) or not isinstance(error, Exception):
                raise
            raise UnusableModel(f"The model in {path.name!r} loads but cannot score: {first_line(error)}") from error
        return reranker

    def _try_found(self, found: FoundModel) -> Reranker:
        try:
            return self._try(found.path)
        except WorkbenchError as error:
            raise UnusableModel(f"{found.name} cannot be used: {error}") from error

    def _load(self, version: ModelVersion) -> ActiveModel:
        return ActiveModel(version, self._try(self.directory(version)))

    # Reading

    def active(self, wait_seconds: float = LOAD_SECONDS) -> ActiveModel:
        """The active model; waits for it while it is being loaded. Raises ModelNotReady."""
        self._loaded.wait(wait_seconds)
        if self._active is None:
            raise ModelNotReady(self._message)
        return self._active

    def get(self, name: str | None) -> ActiveModel:
        """The model of that version or name, loaded; the active one for None and ACTIVE. Raises NotFound."""
        active = self.active()
        if name is None or name in (ACTIVE, active.version.version):
            return active
        version = self._version_or_none(name)
        # A model's own name may be that of another version: that one is meant then.
        if version is None and name == active.version.name:
            return active
        version = version or self._newest_named(name)
        # Beside the active model, one other is kept in memory: the one that was asked for last.
        with self._other_lock:
            if self._other is None or self._other.version.version != version.version:
                before, self._other = self._other, self._load(version)
                if before is not None:
                    before.reranker.give_up_preparing()
            return self._other

    def is_loaded(self, version: str) -> bool:
        """Whether `get` has the model of this version at hand."""
        return any(loaded and loaded.version.version == version for loaded in (self._active, self._other))

    def _version_or_none(self, name: str) -> ModelVersion | None:
        try:
            return self.store.version(name)
        except NotFound:
            return None

    def _newest_named(self, name: str) -> ModelVersion:
        """The newest version of that name. Raises NotFound where there is none."""
        named = (version for version in self.store.versions() if version.name == name)
        return next(named, None) or self.store.version(name)

    def _forget_other(self, name: str) -> None:
        """Let go of the model beside the active one if it is of this version; whoever uses it still may go on."""
        with self._other_lock:
            if self._other is not None and self._other.version.version == name:
                self._other.reranker.give_up_preparing()
                self._other = None

    def status(self) -> ModelStatus:
        """Whether the model is there yet, and what is to be said about it."""
        active = self._active
        if active is None:
            return ModelStatus(not self._loaded.is_set(), self._message, None, None, "")
        loaded = active.reranker.loaded
        return ModelStatus(not self._loaded.is_set(), self._message, active.version, loaded.engine.plan, loaded.reason)

    def directory(self, version: ModelVersion) -> Path:
        """Where the files of a version are. Raises NotFound when they are gone."""
        if version.source == "trained":
            path: Path | None = self.models_dir / version.version
        elif version.source == "starter":
            path = STARTER_DIR
        elif version.source == "directory":
            path = Path(version.location or "")
        else:
            path = cached_snapshot(version.location or "")
        if path is None or not path.is_dir():
            raise NotFound(f"The files of model version {version.version} are no longer there.")
        return path

    def root(self, version: ModelVersion) -> ModelVersion:
        """The model that a version was first made from, back through all the versions between."""
        while version.base:
            version = self.store.version(version.base, deleted=True)
        return version

    def check_base(self, name: str | None) -> ModelVersion:
        """The version that a training run may start from; the active one for None. Raises InvalidInput."""
        try:
            version = self.active().version if name is None else self.store.version(name)
            self.directory(version)
        except NotFound as error:
            raise InvalidInput(f"A run cannot start from {name!r}: {error}") from error
        return version

    # Changing

    def add(self, model_id: str, report: Callable[[str], None] = log.info) -> ModelVersion:
        """Make a model of the Hub a version: it is downloaded, unless it is in the cache, and tried out.

        `report` gets a line whenever there is something new to say. Raises InvalidInput for what cannot be a model's
        id, Conflict where it is a version already, HubRefused where it is not to be had, UnusableModel where it cannot
        be used.
        """
        model_id = check_repo_id(bare_id(model_id), "The model")
        known = self._version_or_none(_name_of_hub_model(model_id))
        if known and cached_snapshot(model_id):
            raise Conflict(f"{model_id} is here already, as version {known.version}.")
        report(f"Asking the Hub for {model_id}.")
        found = from_hub(model_id, report, PATIENT_SECONDS)
        report(f"Trying out {model_id}.")
        _check_memory(found)
        self._try_found(found).give_up_preparing()
        version = self._register(found)
        log.info("Added model version %s", version.version)
        return version

    def next_name(self) -> str:
        """The name of the next trained version: v1, v2 and so on, never one that is or was taken."""
        names = [version.version for version in self.store.all_versions()]
        if self.models_dir.is_dir():
            names += [path.name for path in self.models_dir.iterdir()]
        return f"v{max((int(name[1:]) for name in names if re.fullmatch(r'v[0-9]+', name)), default=0) + 1}"

    def promote(self, name: str, reason: str) -> ModelVersion:
        """Make a version the active one. Raises NotFound, or UnusableModel when it does not load.

        Promoting the active version changes nothing.
        """
        version = self.store.version(name)
        with self._swap:
            return self._switch(version, "promote", reason)

    def roll_back(self, reason: str, to: str | None = None) -> ModelVersion:
        """Make the version before the active one active again, and return it.

        Raises Conflict where there is none, or where it is another one than `to`, if that is given.
        """
        with self._swap:
            stack = self._stack()
            if len(stack) < 2:
                raise Conflict("There is nothing to roll back to: no other version was active before this one.")
            if to not in (None, stack[-2]):
                active = self.active().version.version
                raise Conflict(f"{active} answers now, and rolling back would return to {stack[-2]}, not to {to}.")
            return self._switch(self.store.version(stack[-2]), "rollback", reason)

    def can_roll_back_to(self) -> str | None:
        """The version that roll_back() would make active."""
        stack = self._stack()
        return stack[-2] if len(stack) > 1 else None

    def _stack(self) -> list[str]:
        """The versions that are stacked up, as stack_of() says, up to the one that answers."""
        deleted = {version.version for version in self.store.all_versions() if version.deleted_at}
        return stack_of(self.store.model_events(), deleted, self._active and self._active.version.version)

    def _switch(self, version: ModelVersion, action: str, reason: str) -> ModelVersion:
        current = self.active()
        if version.version == current.version.version:
            return current.version
        loaded = self._load(version)
        self.store.add_model_event(
            ModelEvent(version.version, current.version.version, action, reason, now())  # type: ignore[arg-type]
        )
        self._active = loaded
        current.reranker.give_up_preparing()
        # It may have been compared before: once is enough to convert it, and to keep it in memory.
        self._forget_other(version.version)
        self._message = self._starter_notice(version)
        log.info("%s: %s answers now, %s before (%s)", action, version.version, current.version.version, reason)
        return version

    # Deleting

    def why_kept(self, version: ModelVersion) -> str | None:
        """Why this version cannot be deleted, for a person; None when it can."""
        active = self._active
        if version.source in ("starter", "directory"):
            return f"{version.version} was not trained here, so its files are not the workbench's to delete."
        if version.location == self.wanted:
            return f"{version.version} is the model of the settings, which is there after every start."
        if active is None or version.version == active.version.version:
            return f"{version.version} is the active version. Promote another one first."
        if version.version == self.can_roll_back_to():
            return f"{version.version} is what rolling back returns to, so it is kept."
        for run in self.store.runs(under_way=True):
            if run.config.get("base") == version.version:
                return f"{version.version} is what the training run under way starts from."
            if run.config.get("champion") == version.version:
                return f"{version.version} is what the training run under way is measured against."
        return None

    def delete(self, name: str) -> ModelVersion:
        """Delete a version's files; its labels and figures stay with its run.

        Those of a model of the Hub stay in the Hub's cache, which other programs may share. Raises NotFound, or
        Conflict with the reason why it is kept.
        """
        version = self.store.version(name)
        with self._swap:
            if reason := self.why_kept(version):
                raise Conflict(reason)
            # Noted first: what is left of the files after a crash is removed by the next `make_room`.
            self.store.delete_version(name)
            self._forget_other(name)
            shutil.rmtree(self.models_dir / name, ignore_errors=True)
        log.info("Deleted model version %s", name)
        return version

    def make_room(self) -> list[str]:
        """Delete versions until the others fit into `max_bytes`: the oldest that was never promoted first, then the
        oldest that was. The newest one is kept, and those that `delete` refuses. Returns the names of those deleted.
        """
        for version in self.store.all_versions():
            if version.deleted_at:
                shutil.rmtree(self.models_dir / version.version, ignore_errors=True)
        promoted = {event.version for event in self.store.model_events()}
        trained = [version for version in self.store.versions() if version.source == "trained"]
        sizes = {version.version: self.size(version) for version in trained}
        oldest_first = sorted(trained[1:][::-1], key=lambda version: version.version in promoted)
        gone: list[str] = []
        for version in oldest_first:
            if sum(sizes.values()) <= self.max_bytes:
                break
            if self.why_kept(version) is None:
                self.delete(version.version)
                del sizes[version.version]
                gone.append(version.version)
        return gone

    def size(self, version: ModelVersion) -> int:
        """The bytes that the files of a trained version take; of one that is being deleted, those that are left."""
        size = 0
        for path in files_in(self.models_dir / version.version):
            with suppress(FileNotFoundError):  # deleted meanwhile
                size += path.stat().st_size
        return size


def _version_name(found: FoundModel) -> str:
    """A name for a version that is safe in a URL and as a file name, and differs for different locations."""
    if found.source == "starter":
        return "starter"
    if found.source == "hub":
        return _name_of_hub_model(found.name)
    digest = hashlib.sha256((found.location or "").encode()).hexdigest()[:6]
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '-', found.name)}-{digest}"


def _name_of_hub_model(model_id: str) -> str:
    return re.sub(r"[^\w.-]", "-", model_id.replace("/", "--"))


def _check_memory(found: FoundModel) -> None:
    """Raise UnusableModel where the weights alone are more than the memory that is free: loading would end the app."""
    needed = sum(path.stat().st_size for path in found.path.glob("*.safetensors"))
    free = psutil.virtual_memory().available
    if needed > free:
        raise UnusableModel(
            f"{found.name} is too large for this machine: its weights take {needed / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB of memory are free."
        )
