"""Copies of the store on a stand-in Hub: what was judged comes back on a machine that forgot it, whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from services import Services
from storage import backup as backups
from storage import copies, database
from storage.backup import ANSWER_SECONDS, LAST_UPLOAD_SECONDS, Backup
from storage.hub import MAIN_COPY
from storage.label_store import LabelStore
from storage.model_store import ModelStore
from storage.records import Judgment, ModelVersion, now
from tests.conftest import make_settings
from tests.integration.hub_files import Dataset
from tests.integration.hub_server import Behaviour, HubServer, serve, unused_endpoint
from tests.serving import app_in_process, eventually, label, loaded_version, serving

REPO = "acme/labels"
BRIDGE = Judgment("how long is the bridge", "two miles", 1, "anna")
RAIN = Judgment("when does it rain", "in spring", 0, "bo")
SUN = Judgment("when does it shine", "in june", 1, "cy")
# The app promises to give up after 5 seconds; the rest is what this process needs to be scheduled.
PROMISED_SECONDS = 5.5


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub without models or datasets, and an environment that leads there."""
    for name in ("HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_acme")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")  # which the stand-in does not speak
    # On a machine that is busy with other tests the process that asks takes seconds to start.
    monkeypatch.setattr(backups, "ANSWER_SECONDS", 60)
    monkeypatch.setattr(backups, "LAST_UPLOAD_SECONDS", 120)
    with serve({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


@dataclass(frozen=True)
class Machine:
    """One that runs the app, as far as the store is concerned."""

    path: Path
    store: LabelStore
    backup: Backup

    def labels(self) -> dict[str, int]:
        return labels(self.path)


@contextmanager
def running(data_dir: Path, look_seconds: float = 0.05) -> Iterator[Machine]:
    """A machine from the start of the app to its orderly end."""
    path = data_dir / "workbench.db"
    backup = Backup(REPO, path, look_seconds)
    backup.restore()
    database.create(path)
    backup.start()
    try:
        yield Machine(path, LabelStore(path), backup)
    finally:
        backup.stop()


def labels(path: Path) -> dict[str, int]:
    return {label.query: label.label for label in LabelStore(path).labels()}


def on_hub(hub: HubServer, tmp_path: Path, name: str = MAIN_COPY) -> dict[str, int]:
    """The labels in the latest copy on the Hub; none where there is no copy."""
    dataset = hub.datasets.get(REPO)
    if not dataset or name not in dataset.files:
        return {}
    path = tmp_path / "from-hub.db"
    path.write_bytes(dataset.files[name])
    return labels(path)


def commits(hub: HubServer) -> int:
    return len(hub.datasets[REPO].commits) - 1 if REPO in hub.datasets else 0


def looks(hub: HubServer) -> int:
    """How often the Hub was asked what the repository holds."""
    return sum(request.startswith(f"GET /api/datasets/{REPO}") for request in hub.requests)


def store_with(path: Path, *judgments: Judgment) -> bytes:
    """What a copy of a store with these judgments looks like."""
    path.mkdir()
    database.create(path / "workbench.db")
    LabelStore(path / "workbench.db").save(judgments)
    copies.take(path / "workbench.db", path / "copy")
    return (path / "copy").read_bytes()


def by_a_later_version(path: Path, *judgments: Judgment) -> bytes:
    """The same, of an app whose stores have a table that those here have not."""
    store_with(path, *judgments)
    update(path / "workbench.db")
    copies.take(path / "workbench.db", path / "later")
    return (path / "later").read_bytes()


def update(path: Path) -> None:
    """Give a store what a later version of the app keeps there."""
    with database.write(path) as db:
        db.conn.execute("CREATE TABLE moods (id INTEGER PRIMARY KEY)")


def publish(hub: HubServer, **files: bytes) -> Dataset:
    """Put files into the repository as somebody else would."""
    dataset = hub.datasets.setdefault(REPO, Dataset())
    dataset.commit(**files)
    return dataset


# There and back


@pytest.mark.parametrize("large", [False, True], ids=["small file", "large file"])
def test_a_label_comes_back_on_a_machine_that_forgot_it(hub: HubServer, tmp_path: Path, large: bool) -> None:
    hub.large_datasets = large
    with running(tmp_path / "one") as machine:
        machine.store.save([BRIDGE])
        eventually(lambda: on_hub(hub, tmp_path) == {BRIDGE.query: 1}, "the label is on the Hub")
        machine.store.save([RAIN])
        eventually(lambda: on_hub(hub, tmp_path) == {BRIDGE.query: 1, RAIN.query: 0}, "so is the next one")
        assert machine.backup.notice == ""
    assert hub.datasets[REPO].visibility == "private"
    shutil.rmtree(tmp_path / "one")
    with running(tmp_path / "one") as machine:
        assert machine.labels() == {BRIDGE.query: 1, RAIN.query: 0}
        assert machine.backup.notice == ""
        machine.store.save([SUN])
    assert on_hub(hub, tmp_path) == {BRIDGE.query: 1, RAIN.query: 0, SUN.query: 1}
    left = {path.name.partition("-")[0] for path in (tmp_path / "one").iterdir()}
    assert left <= {"workbench.db", "workbench.db.lock", "backup.json"}


def test_stopping_uploads_the_last_label(hub: HubServer, tmp_path: Path) -> None:
    with running(tmp_path / "one", look_seconds=600) as machine:
        machine.store.save([BRIDGE])
    assert on_hub(hub, tmp_path) == {BRIDGE.query: 1}


def test_nothing_is_uploaded_when_nothing_changed(hub: HubServer, tmp_path: Path) -> None:
    version = ModelVersion("base", "base", "starter", None, None, None, 0, {}, "2025-01-01")
    with running(tmp_path / "one") as machine:
        machine.store.save([BRIDGE])
        ModelStore(machine.path).add_version(version)
    uploaded = commits(hub)
    for kept in (True, False):
        if not kept:
            shutil.rmtree(tmp_path / "one")
        hub.requests.clear()
        with running(tmp_path / "one") as machine:
            ModelStore(machine.path).add_version(version)  # as every start does, and it changes nothing
            # Once whether what is known of the repository is still so; before that, where all is lost, for the copy.
            times = 1 if kept else 2
            eventually(lambda times=times: looks(hub) == times, "the Hub was asked")
            time.sleep(1)
            assert machine.labels() == {BRIDGE.query: 1}
            assert looks(hub) == times and not [request for request in hub.requests if request.startswith("POST")]
    assert commits(hub) == uploaded


@pytest.mark.parametrize("anew", [False, True], ids=["gone", "made anew"])
def test_a_repository_that_was_deleted_gets_its_copy_again_though_nothing_changes_here(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    def delete() -> None:
        hub.datasets.clear()
        if anew:
            hub.datasets[REPO] = Dataset()

    with running(tmp_path / "one") as machine:
        machine.store.save([BRIDGE])
    delete()
    with running(tmp_path / "one") as machine:
        eventually(lambda: on_hub(hub, tmp_path) == {BRIDGE.query: 1}, "an app that starts looks after it")
        delete()
        monkeypatch.setattr(backups, "ASK_SECONDS", 0.5)
        eventually(lambda: on_hub(hub, tmp_path) == {BRIDGE.query: 1}, "so does one that runs, now and then")
        assert machine.backup.notice == ""


def test_what_changed_while_the_app_was_being_killed_is_uploaded_at_the_next_start(
    hub: HubServer, tmp_path: Path
) -> None:
    with running(tmp_path / "one") as machine:
        machine.store.save([BRIDGE])
    machine.store.save([RAIN])
    with running(tmp_path / "one"):
        eventually(lambda: on_hub(hub, tmp_path) == {BRIDGE.query: 1, RAIN.query: 0}, "the label is on the Hub")
    assert list(hub.datasets[REPO].files) == [".gitattributes", MAIN_COPY]


def test_what_a_backup_left_that_was_killed_is_removed(hub: HubServer, tmp_path: Path) -> None:
    with running(tmp_path / "one") as machine:
        machine.store.save([BRIDGE])
    left_over, another_apps = tmp_path / "one" / "backup-of-old", tmp_path / "one" / "backup-of-now"
    for folder in (left_over, another_apps):
        folder.mkdir()
        copies.take(machine.path, folder / "copy")
    an_hour_ago = time.time() - 3600
    os.utime(left_over, (an_hour_ago, an_hour_ago))
    with running(tmp_path / "one"):
        pass
    assert not left_over.exists() and copies.is_sound(another_apps / "copy")


def test_other_files_of_the_repository_are_left_alone_and_do_not_matter(hub: HubServer, tmp_path: Path) -> None:
    with running(tmp_path / "one") as machine:
        machine.store.save([BRIDGE])
        eventually(lambda: on_hub(hub, tmp_path) == {BRIDGE.query: 1}, "the label is on the Hub")
        publish(hub, **{"README.md": b"Mine"})
        hub.requests.clear()
        machine.store.save([RAIN])
    assert on_hub(hub, tmp_path) == {BRIDGE.query: 1, RAIN.query: 0}
    assert sorted(hub.datasets[REPO].files) == [".gitattributes", "README.md", MAIN_COPY]
    assert not any("/resolve/" in request for request in hub.requests)


def test_a_store_that_is_there_is_never_replaced(hub: HubServer, tmp_path: Path) -> None:
    publish(hub, **{MAIN_COPY: store_with(tmp_path / "other", RAIN)})
    store_with(tmp_path / "one", BRIDGE)
    backup = Backup(REPO, tmp_path / "one" / "workbench.db")
    backup.restore()
    assert labels(backup.path) == {BRIDGE.query: 1}
    assert hub.requests == []


def test_apps_that_start_at_once_share_what_is_restored(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, **{MAIN_COPY: store_with(tmp_path / "other", RAIN)})
    path = tmp_path / "one" / "workbench.db"
    first, second = Backup(REPO, path), Backup(REPO, path)
    fetched, overtaken, put_in_place = threading.Event(), threading.Event(), second._put_in_place

    def put_in_place_late(*answer: Any) -> None:
        fetched.set()
        overtaken.wait()
        put_in_place(*answer)

    monkeypatch.setattr(second, "_put_in_place", put_in_place_late)
    slow = threading.Thread(target=second.restore, daemon=True)
    slow.start()
    eventually(fetched.is_set, "the second has fetched the copy")
    first.restore()
    LabelStore(path).save([BRIDGE])
    overtaken.set()
    slow.join()
    assert labels(path) == {RAIN.query: 0, BRIDGE.query: 1}


def test_what_is_left_of_a_deleted_store_does_not_get_into_the_restored_one(hub: HubServer, tmp_path: Path) -> None:
    publish(hub, **{MAIN_COPY: store_with(tmp_path / "other", RAIN)})
    store_with(tmp_path / "one", BRIDGE)
    path = tmp_path / "one" / "workbench.db"
    with database.read(path) as db:
        db.conn.execute("SELECT * FROM labels").fetchall()
        LabelStore(path).save([SUN])
        left = path.with_name("workbench.db-wal").read_bytes()
    assert left
    path.unlink()
    path.with_name("workbench.db-wal").write_bytes(left)
    with running(tmp_path / "one") as machine:
        assert machine.labels() == {RAIN.query: 0}
        assert copies.is_sound(path)


def test_a_slow_download_is_waited_for(hub: HubServer, tmp_path: Path) -> None:
    copy = store_with(tmp_path / "other", replace(BRIDGE, passage="two miles " * 150_000))
    hub.large_datasets = True
    hub.bytes_per_second = len(copy) // 6
    publish(hub, **{MAIN_COPY: copy})
    backup = Backup(REPO, tmp_path / "one" / "workbench.db")
    backup.restore()
    assert backup.notice == ""
    assert labels(backup.path) == {BRIDGE.query: 1}


# Somebody else writes to the repository


def test_a_copy_that_another_app_wrote_is_merged_and_not_overwritten(hub: HubServer, tmp_path: Path) -> None:
    with running(tmp_path / "one") as one:
        one.store.save([BRIDGE])
        eventually(lambda: on_hub(hub, tmp_path), "the label is on the Hub")
        # As on a Space: the new container starts, then the old one uploads its last minute and stops.
        with running(tmp_path / "two") as two:
            assert two.labels() == {BRIDGE.query: 1}
            one.store.save([RAIN])
            eventually(lambda: len(on_hub(hub, tmp_path)) == 2, "the last minute is on the Hub")
            two.store.save([SUN])
            eventually(lambda: len(on_hub(hub, tmp_path)) == 3, "all labels are on the Hub")
            assert two.labels() == on_hub(hub, tmp_path) == {BRIDGE.query: 1, RAIN.query: 0, SUN.query: 1}
            assert two.backup.notice == ""
    assert len(on_hub(hub, tmp_path)) == 3
    assert sorted(hub.datasets[REPO].files) == [".gitattributes", MAIN_COPY]


def test_whoever_slips_in_between_looking_and_writing_is_not_overwritten(hub: HubServer, tmp_path: Path) -> None:
    other = store_with(tmp_path / "other", RAIN)

    def slip_in() -> None:
        hub.before_commit = lambda: None
        publish(hub, **{MAIN_COPY: other})

    with running(tmp_path / "one", look_seconds=600) as machine:
        machine.store.save([BRIDGE])
        hub.before_commit = slip_in
    assert on_hub(hub, tmp_path) == {BRIDGE.query: 1, RAIN.query: 0}
    assert machine.labels() == {BRIDGE.query: 1, RAIN.query: 0}
    assert other in [files.get(MAIN_COPY) for files in hub.datasets[REPO].commits.values()]


def test_an_upload_whose_answer_was_lost_is_known_again(hub: HubServer, tmp_path: Path) -> None:
    with running(tmp_path / "one") as machine:
        hub.behaviour = "loses_answers"
        machine.store.save([BRIDGE])
        eventually(lambda: machine.backup.notice, "the upload seems to have failed")
        # It may have been that of the store as it was before the label.
        eventually(lambda: on_hub(hub, tmp_path) == {BRIDGE.query: 1}, "the label is on the Hub all the same")
        hub.requests.clear()
        hub.behaviour = "found"
        machine.store.save([RAIN])
        eventually(lambda: len(on_hub(hub, tmp_path)) == 2, "both labels are on the Hub")
        eventually(lambda: machine.backup.notice == "", "all is well again")
    assert not any("/resolve/" in request for request in hub.requests)


@pytest.mark.parametrize(
    "copy",
    [
        pytest.param(b"", id="empty", marks=pytest.mark.slow),
        pytest.param(b"<html>Sorry</html>", id="no database"),
        pytest.param("newer", id="newer version"),
    ],
)
def test_a_copy_that_cannot_be_merged_is_left_and_the_store_goes_beside_it(
    hub: HubServer, tmp_path: Path, copy: bytes | str
) -> None:
    if copy == "newer":
        copy = by_a_later_version(tmp_path / "other", RAIN)
    assert isinstance(copy, bytes)
    store_with(tmp_path / "one")
    publish(hub, **{MAIN_COPY: copy})

    def beside() -> list[str]:
        return [name for name in hub.datasets[REPO].files if name.startswith("workbench-")]

    with running(tmp_path / "one") as machine:
        machine.store.save([BRIDGE])
        eventually(lambda: beside() and on_hub(hub, tmp_path, beside()[0]) == {BRIDGE.query: 1}, "a copy is beside it")
        eventually(lambda: beside()[0] in machine.backup.notice and REPO in machine.backup.notice, "it is said")
    with running(tmp_path / "one") as machine:
        machine.store.save([SUN])
    assert hub.datasets[REPO].files[MAIN_COPY] == copy
    assert len(beside()) == 1
    assert on_hub(hub, tmp_path, beside()[0]) == {BRIDGE.query: 1, SUN.query: 1}


def test_a_damaged_copy_is_refused_at_the_start_and_a_sound_one_beside_it_is_taken(
    hub: HubServer, tmp_path: Path
) -> None:
    damaged = store_with(tmp_path / "other", *(replace(RAIN, query=f"query {n}") for n in range(200)))[:60_000]
    publish(hub, **{MAIN_COPY: damaged})
    with running(tmp_path / "one", look_seconds=600) as machine:
        assert machine.labels() == {}
        for word in (REPO, MAIN_COPY, "damaged", "empty"):
            assert word in machine.backup.notice
        machine.store.save([BRIDGE])
    assert hub.datasets[REPO].files[MAIN_COPY] == damaged
    shutil.rmtree(tmp_path / "one")
    with running(tmp_path / "one", look_seconds=600) as machine:
        assert machine.labels() == {BRIDGE.query: 1}
        machine.store.save([SUN])
    assert hub.datasets[REPO].files[MAIN_COPY] == damaged
    (beside,) = [name for name in hub.datasets[REPO].files if name.startswith("workbench-")]
    assert on_hub(hub, tmp_path, beside) == {BRIDGE.query: 1, SUN.query: 1}


def test_what_lies_beside_the_copy_is_restored_too_and_what_cannot_be_is_named(hub: HubServer, tmp_path: Path) -> None:
    beside, later = "workbench-20250101T101500-0a1b.db", "workbench-20250102T101500-0a1b.db"
    of_a_later_version = by_a_later_version(tmp_path / "later", SUN)
    publish(hub, **{MAIN_COPY: store_with(tmp_path / "main", RAIN), later: of_a_later_version})
    publish(hub, **{beside: store_with(tmp_path / "beside", BRIDGE), "workbench-mine.db": b"not the app's"})
    with running(tmp_path / "one", look_seconds=600) as machine:
        assert RAIN.query in machine.labels()
        eventually(lambda: machine.labels() == {RAIN.query: 0, BRIDGE.query: 1}, "the labels beside it are here")
        eventually(lambda: later in machine.backup.notice, "what could not be added is named")
        assert "another version" in machine.backup.notice and REPO in machine.backup.notice
        assert beside not in machine.backup.notice
        # What is in the main copy now needs no copy of its own.
        assert sorted(hub.datasets[REPO].files) == [".gitattributes", later, "workbench-mine.db", MAIN_COPY]
        assert on_hub(hub, tmp_path) == machine.labels()
    assert hub.datasets[REPO].files[later] == of_a_later_version
    # The app is brought up to date.
    update(machine.path)
    with running(tmp_path / "one") as machine:
        eventually(lambda: len(on_hub(hub, tmp_path)) == 3, "all labels are in one copy")
        assert machine.labels() == {RAIN.query: 0, BRIDGE.query: 1, SUN.query: 1} and machine.backup.notice == ""
    assert sorted(hub.datasets[REPO].files) == [".gitattributes", "workbench-mine.db", MAIN_COPY]


def test_a_store_that_went_beside_the_main_copy_comes_back_to_it_when_they_are_of_one_version(
    hub: HubServer, tmp_path: Path
) -> None:
    publish(hub, **{MAIN_COPY: by_a_later_version(tmp_path / "other", RAIN)})
    store_with(tmp_path / "one", BRIDGE)
    with running(tmp_path / "one") as machine:
        eventually(lambda: MAIN_COPY in machine.backup.notice, "the store goes beside it")
    assert on_hub(hub, tmp_path) == {RAIN.query: 0} and len(hub.datasets[REPO].files) == 3
    update(machine.path)
    with running(tmp_path / "one") as machine:
        eventually(lambda: on_hub(hub, tmp_path) == {RAIN.query: 0, BRIDGE.query: 1}, "they are one")
        machine.store.save([SUN])
        eventually(lambda: len(on_hub(hub, tmp_path)) == 3, "and stay so")
        assert machine.backup.notice == ""
    assert sorted(hub.datasets[REPO].files) == [".gitattributes", MAIN_COPY]


# The Hub does not answer


@pytest.mark.parametrize("behaviour", ["nothing listens", "silent", "broken"])
def test_a_hub_that_is_down_at_the_start_costs_five_seconds_and_no_label(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour
) -> None:
    monkeypatch.setattr(backups, "ANSWER_SECONDS", ANSWER_SECONDS)
    good = store_with(tmp_path / "other", RAIN)
    publish(hub, **{MAIN_COPY: good})
    path = tmp_path / "one" / "workbench.db"
    backup = Backup(REPO, path, look_seconds=0.05)
    hub.behaviour = behaviour
    if behaviour == "nothing listens":
        monkeypatch.setenv("HF_ENDPOINT", unused_endpoint())
    before = time.monotonic()
    backup.restore()
    assert time.monotonic() - before < PROMISED_SECONDS
    for words in (REPO, "could not be fetched", "empty", "Nothing there is overwritten"):
        assert words in backup.notice
    assert "\n" not in backup.notice

    database.create(path)
    LabelStore(path).save([BRIDGE])
    hub.behaviour = "found"
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    backup.start()
    eventually(lambda: len(on_hub(hub, tmp_path)) == 2, "both stores are one on the Hub")
    eventually(lambda: backup.notice == "", "all is well again")
    backup.stop()
    assert labels(path) == on_hub(hub, tmp_path) == {RAIN.query: 0, BRIDGE.query: 1}


def test_a_store_that_was_deleted_and_could_not_be_restored_does_not_replace_its_copy(
    hub: HubServer, tmp_path: Path
) -> None:
    with running(tmp_path / "one") as machine:
        machine.store.save([BRIDGE])
    assert on_hub(hub, tmp_path) == {BRIDGE.query: 1}
    for left in tmp_path.glob("one/workbench.db*"):
        left.unlink()
    hub.behaviour = "broken"
    with running(tmp_path / "one", look_seconds=600) as machine:
        assert machine.labels() == {}
        hub.behaviour = "found"
    assert machine.labels() == on_hub(hub, tmp_path) == {BRIDGE.query: 1}


@pytest.mark.parametrize(
    ("behaviour", "words"), [("refuses_commits", "500"), ("read_only", "HF_TOKEN may not"), ("broken", "500")]
)
def test_a_failed_upload_is_told_and_tried_again(
    hub: HubServer, tmp_path: Path, behaviour: Behaviour, words: str
) -> None:
    with running(tmp_path / "one") as machine:
        hub.behaviour = behaviour
        machine.store.save([BRIDGE])
        eventually(lambda: words in machine.backup.notice, "the failure is told")
        assert REPO in machine.backup.notice and "\n" not in machine.backup.notice
        assert on_hub(hub, tmp_path) == {}
        machine.store.save([RAIN])
        hub.behaviour = "found"
        eventually(lambda: len(on_hub(hub, tmp_path)) == 2, "both labels are on the Hub")
        eventually(lambda: machine.backup.notice == "", "all is well again")


def test_without_a_token_it_says_so(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with running(tmp_path / "one") as machine:
        assert "HF_TOKEN is not set" in machine.backup.notice
        machine.store.save([BRIDGE])
    assert hub.datasets == {}


def test_stopping_does_not_wait_long_for_a_hub_that_is_silent(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "LAST_UPLOAD_SECONDS", LAST_UPLOAD_SECONDS)
    with running(tmp_path / "one") as machine:
        hub.behaviour = "silent"
        machine.store.save([BRIDGE])
        asked = len(hub.requests)
        eventually(lambda: len(hub.requests) > asked, "an upload is under way")
        # Meanwhile nothing is blocked.
        machine.store.save([RAIN])
        before = time.monotonic()
    assert time.monotonic() - before < LAST_UPLOAD_SECONDS + 1.5
    assert machine.labels() == {BRIDGE.query: 1, RAIN.query: 0}


# The whole app


@pytest.mark.slow
def test_a_space_that_restarts_has_its_labels_back(hub: HubServer, tmp_path: Path, model_dir: Path) -> None:
    data_dir, online = tmp_path / "data", {"BACKUP_REPO": REPO, "HF_HUB_OFFLINE": "0"}
    with app_in_process(data_dir, model_dir, **online) as app:
        label(app.client, (BRIDGE.query, BRIDGE.passage, 1))
    assert on_hub(hub, tmp_path) == {BRIDGE.query: 1}
    shutil.rmtree(data_dir)
    with app_in_process(data_dir, model_dir, **online) as app:
        (line,) = app.client.get("/v1/labels").raise_for_status().text.splitlines()
        assert json.loads(line)["query"] == BRIDGE.query


def test_a_version_whose_files_were_not_backed_up_does_not_break_the_start(
    hub: HubServer, tmp_path: Path, model_dir: Path, other_model_dir: Path
) -> None:
    settings = make_settings(tmp_path / "data", model_dir, BACKUP_REPO=REPO)
    with serving(Services.build(settings)) as client:
        base = loaded_version(client)
        shutil.copytree(other_model_dir, settings.models_dir / "v1")
        models = ModelStore(settings.database_path)
        models.add_version(ModelVersion("v1", "v1", "trained", None, base, None, 2, {}, now()))
        client.post("/v1/models/v1/promote").raise_for_status()
        label(client, (BRIDGE.query, BRIDGE.passage, 1))
    assert on_hub(hub, tmp_path) == {BRIDGE.query: 1}
    shutil.rmtree(settings.data_dir)
    services = Services.build(settings)
    with serving(services) as client:
        assert loaded_version(client) == base
        assert client.post("/v1/rerank", json={"query": "a", "documents": ["b"]}).json()["model"] == base
        assert "v1" in services.registry.status().message
        assert "no longer there" in services.registry.status().message
        assert services.labeling.progress("anna").mine == 1
