"""The environment, read once: what each variable means, and that a wrong value stops with one line that says why."""

import os
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from errors import InvalidInput
from settings import DEFAULT_MODEL, Settings


def read(tmp_path: Path, **environment: str) -> Settings:
    return Settings.from_env({"DATA_DIR": str(tmp_path / "data"), **environment})


def assert_wrong(tmp_path: Path, *words: str, **environment: str) -> str:
    """These settings are refused with one line that holds the words; returns it."""
    with pytest.raises(InvalidInput) as raised:
        read(tmp_path, **environment)
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def test_an_empty_environment_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_env({})
    assert (settings.host, settings.port) == ("127.0.0.1", 7860)
    assert settings.reranker_model == DEFAULT_MODEL == "cross-encoder/ms-marco-MiniLM-L6-v2"
    assert (settings.api_token, settings.admin_users, settings.on_space) == (None, (), False)
    assert settings.data_dir == (Path("/data") if os.access("/data", os.W_OK) else tmp_path / "data")


def test_every_variable_is_read(tmp_path: Path) -> None:
    settings = read(
        tmp_path, HOST="0.0.0.0", PORT="8080", RERANKER_MODEL="acme/reranker", API_TOKEN="s3cret",
        ADMIN_USERS="anna, bo ,,cy", BACKUP_REPO="acme/labels",
    )  # fmt: skip
    assert settings.backup_repo == "acme/labels"
    assert (settings.host, settings.port, settings.reranker_model) == ("0.0.0.0", 8080, "acme/reranker")
    assert (settings.api_token, settings.admin_users) == ("s3cret", ("anna", "bo", "cy"))
    assert settings.data_dir == tmp_path / "data"


def test_the_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PORT", "1234")
    assert Settings.from_env().port == 1234


@pytest.mark.parametrize("name", ["HOST", "PORT", "RERANKER_MODEL", "API_TOKEN", "ADMIN_USERS", "BACKUP_REPO"])
def test_an_empty_variable_counts_as_not_set(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, **{name: ""}) == read(tmp_path)


def test_spaces_around_values_do_not_matter(tmp_path: Path) -> None:
    settings = read(tmp_path, HOST=" localhost ", PORT=" 80 ", RERANKER_MODEL=" a/b\n")
    assert (settings.host, settings.port, settings.reranker_model) == ("localhost", 80, "a/b")


def test_a_space_listens_to_the_world(tmp_path: Path) -> None:
    settings = read(tmp_path, SPACE_ID="acme/workbench")
    assert settings.on_space
    assert settings.host == "0.0.0.0"
    assert read(tmp_path, SPACE_ID="acme/workbench", HOST="127.0.0.1").host == "127.0.0.1"


def test_people_sign_in_on_a_space_that_asks_for_it(tmp_path: Path) -> None:
    assert read(tmp_path, SPACE_ID="acme/workbench", OAUTH_CLIENT_ID="id", ADMIN_USERS="anna").sign_in
    # Without anybody who may do more once signed in, there is nothing to sign in for.
    assert not read(tmp_path, SPACE_ID="acme/workbench", OAUTH_CLIENT_ID="id").sign_in
    assert not read(tmp_path, SPACE_ID="acme/workbench").sign_in
    assert not read(tmp_path, OAUTH_CLIENT_ID="id").sign_in


def test_who_may_label(tmp_path: Path) -> None:
    assert read(tmp_path).labeling == "open"
    assert read(tmp_path, LABELING=" Closed ").labeling == "closed"
    signing_in = read(tmp_path, LABELING="signed-in", SPACE_ID="acme/workbench", OAUTH_CLIENT_ID="id")
    # There is something to sign in for, also without anybody who may do more.
    assert (signing_in.labeling, signing_in.sign_in) == ("signed-in", True)
    assert_wrong(tmp_path, "LABELING", "'nobody'", "open, signed-in, closed", LABELING="nobody")
    for elsewhere in ({}, {"SPACE_ID": "acme/workbench"}, {"OAUTH_CLIENT_ID": "id"}):
        assert_wrong(tmp_path, "LABELING", "hf_oauth: true", LABELING="signed-in", **elsewhere)


@pytest.mark.parametrize("port", ["0", "1", "65535"])
def test_ports_that_exist_are_taken(tmp_path: Path, port: str) -> None:
    assert read(tmp_path, PORT=port).port == int(port)


@pytest.mark.parametrize("port", ["65536", "-1", "80.0", "http", "0x50", "8 0"])
def test_a_wrong_port_is_named(tmp_path: Path, port: str) -> None:
    assert_wrong(tmp_path, "PORT", repr(port), "0 to 65535", PORT=port)


def test_how_many_judge_a_pair(tmp_path: Path) -> None:
    assert (read(tmp_path).overlap, read(tmp_path).overlap_share, read(tmp_path).lease_minutes) == (None, 1.0, 15.0)
    settings = read(tmp_path, OVERLAP=" 2 ", OVERLAP_SHARE="0.2", LEASE_MINUTES="0.5")
    assert (settings.overlap, settings.overlap_share, settings.lease_minutes) == (2, 0.2, 0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("OVERLAP", value) for value in ("0", "-1", "1.5", "two", "101", "²")),
        *(("OVERLAP_SHARE", value) for value in ("-0.1", "1.1", "a fifth", "nan", "20%")),
        *(("LEASE_MINUTES", value) for value in ("0", "-1", "1441", "inf", "nan", "ten")),
    ],
)
def test_a_wrong_quota_is_named(tmp_path: Path, name: str, value: str) -> None:
    assert_wrong(tmp_path, name, repr(value), **{name: value})


def test_how_often_a_run_is_saved(tmp_path: Path) -> None:
    assert read(tmp_path).checkpoint_seconds == 15
    assert read(tmp_path, CHECKPOINT_SECONDS=" 0 ").checkpoint_seconds == 0
    for wrong in ("-1", "86401", "often", "nan", "inf"):
        assert_wrong(tmp_path, "CHECKPOINT_SECONDS", repr(wrong), CHECKPOINT_SECONDS=wrong)


def test_how_a_training_is_started(tmp_path: Path) -> None:
    assert (read(tmp_path).train_launcher, read(tmp_path).train_processes) == ("python", 1)
    settings = read(tmp_path, TRAIN_LAUNCHER="Accelerate", TRAIN_PROCESSES="2")
    assert (settings.train_launcher, settings.train_processes) == ("accelerate", 2)
    assert_wrong(tmp_path, "TRAIN_LAUNCHER", "'slurm'", TRAIN_LAUNCHER="slurm")
    for wrong in ("0", "65", "two", "1.5"):
        assert_wrong(tmp_path, "TRAIN_PROCESSES", repr(wrong), TRAIN_LAUNCHER="accelerate", TRAIN_PROCESSES=wrong)
    assert_wrong(tmp_path, "TRAIN_PROCESSES", "TRAIN_LAUNCHER=accelerate", TRAIN_PROCESSES="2")


def test_how_a_training_on_the_hub_is_asked_for(tmp_path: Path) -> None:
    settings = read(tmp_path, TRAIN_LAUNCHER="hf_job")
    assert (settings.train_launcher, settings.train_flavor, settings.train_timeout) == ("hf_job", "t4-small", "6h")
    assert settings.train_image.startswith("python:3.") and settings.train_bucket is None
    given = {
        "TRAIN_FLAVOR": "l4x4", "TRAIN_IMAGE": "pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime", "TRAIN_TIMEOUT": "90m",
        "TRAIN_BUCKET": "acme/runs",
    }  # fmt: skip
    settings = read(tmp_path, TRAIN_LAUNCHER="HF_job", TRAIN_PROCESSES="4", **given)
    assert (settings.train_flavor, settings.train_image, settings.train_timeout, settings.train_bucket) == tuple(
        given.values()
    )
    assert settings.train_processes == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("TRAIN_FLAVOR", value) for value in ("T4", "t4 small", "-t4", "../t4")),
        *(("TRAIN_IMAGE", value) for value in ("python 3.11", "-it", "$(id)", "python;id")),
        *(("TRAIN_TIMEOUT", value) for value in ("6", "0h", "six hours", "-1h", "1.5h", "6w", "inf")),
        *(("TRAIN_BUCKET", value) for value in ("runs", "acme/la bels", "hf://buckets/acme/runs", "acme/")),
    ],
)
def test_a_wrong_setting_of_a_training_on_the_hub_is_named(tmp_path: Path, name: str, value: str) -> None:
    assert_wrong(tmp_path, name, repr(value), TRAIN_LAUNCHER="hf_job", **{name: value})


def test_what_only_a_training_on_the_hub_heeds_is_refused_without_it(tmp_path: Path) -> None:
    for name in ("TRAIN_FLAVOR", "TRAIN_IMAGE", "TRAIN_TIMEOUT", "TRAIN_BUCKET"):
        assert_wrong(tmp_path, name, "TRAIN_LAUNCHER=hf_job", **{name: "1h"})
    assert_wrong(tmp_path, "TRAIN_LAUNCHER", "HF_HUB_OFFLINE", TRAIN_LAUNCHER="hf_job", HF_HUB_OFFLINE="1")
    assert read(tmp_path, TRAIN_LAUNCHER="hf_job", HF_HUB_OFFLINE="0").train_launcher == "hf_job"


@pytest.mark.parametrize("token", [" token", "token\n", "   ", "tokén", "to\x00ken", "a\tb"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(tmp_path: Path, token: str) -> None:
    message = assert_wrong(tmp_path, "API_TOKEN", API_TOKEN=token)
    assert token.strip() == "" or token.strip() not in message


@pytest.mark.parametrize("repo", ["labels", "datasets/acme/labels", "acme/la bels", "acme/", "../labels", "acme/a--b"])
def test_what_cannot_be_a_repository_is_named(tmp_path: Path, repo: str) -> None:
    assert_wrong(tmp_path, "BACKUP_REPO", repr(repo), BACKUP_REPO=repo)


@pytest.mark.parametrize(("text", "gigabytes"), [("", 10), ("5", 5), (" 0.5 ", 0.5), ("1e3", 1000)])
def test_the_room_for_models_is_a_number_of_gigabytes(tmp_path: Path, text: str, gigabytes: float) -> None:
    assert read(tmp_path, MAX_MODELS_GB=text).max_models_gb == gigabytes


@pytest.mark.parametrize("text", ["0", "-1", "ten", "10 GB", "nan", "inf", "1e9"])
def test_what_is_no_room_is_named(tmp_path: Path, text: str) -> None:
    assert_wrong(tmp_path, "MAX_MODELS_GB", repr(text), MAX_MODELS_GB=text)


def test_the_data_directory_is_made(tmp_path: Path) -> None:
    settings = Settings.from_env({"DATA_DIR": str(tmp_path / "deep" / "er")})
    assert settings.data_dir.is_dir()
    for path in (settings.database_path, settings.models_dir, settings.runs_dir):
        assert path.parent == settings.data_dir


def test_a_relative_data_directory_becomes_a_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.from_env({"DATA_DIR": "here"}).data_dir == tmp_path / "here"


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings.from_env({"DATA_DIR": "~/bench"}).data_dir == tmp_path / "bench"


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert_wrong(tmp_path, "DATA_DIR", str(file), "cannot be made", DATA_DIR=str(file))
    assert_wrong(tmp_path, "DATA_DIR", str(file / "below"), "cannot be made", DATA_DIR=str(file / "below"))


def test_the_home_of_an_unknown_user_is_refused(tmp_path: Path) -> None:
    assert_wrong(tmp_path, "DATA_DIR", "~nobody-of-this-name", DATA_DIR="~nobody-of-this-name/data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_directory_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert_wrong(tmp_path, "DATA_DIR", str(closed), "cannot be written to", DATA_DIR=str(closed))


def test_the_description_is_one_line_with_every_setting_and_no_secret(tmp_path: Path) -> None:
    line = read(tmp_path, API_TOKEN="s3cret", ADMIN_USERS="anna,bo").describe()
    assert "\n" not in line
    assert "s3cret" not in line
    for part in ("HOST=127.0.0.1", "PORT=7860", f"DATA_DIR={tmp_path / 'data'}", "API_TOKEN=(set)"):
        assert part in line
    assert "ADMIN_USERS=anna,bo" in line
    for part in ("API_TOKEN=(not set)", "BACKUP_REPO=(not set)"):
        assert part in read(tmp_path).describe()


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(FrozenInstanceError):
        read(tmp_path).port = 1  # type: ignore[misc]
