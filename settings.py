"""Settings, read once from the environment. Nothing else in the project reads environment variables.

A wrong value raises InvalidInput with one line that says which setting is wrong and why; `app.py` prints it and stops.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from errors import InvalidInput
from texts import check_repo_id

DEFAULT_MODEL = "cross-encoder/ms-marco-MiniLM-L6-v2"
# Ways to score: see reranker/loading.py.
ENGINES = (
    "auto",
    "openvino",
    "torch",
    "openvino-float32",
    "openvino-bfloat16",
    "torch-float32",
    "torch-bfloat16",
    "torch-float16",
    "sentence-transformers",
)

# What starts the process that trains: see reranker/launch.py.
LAUNCHERS = ("python", "accelerate", "hf_job")
# What a setting of a training on the Hub looks like, and in words.
TRAIN_JOB = {
    "TRAIN_FLAVOR": (
        r"[a-z0-9][a-z0-9-]*",
        "the name of a hardware of Hugging Face Jobs, such as t4-small or cpu-upgrade",
    ),
    "TRAIN_IMAGE": (r"\w[\w./:@-]*", "a Docker image with Python and pip, such as python:3.11"),
    "TRAIN_TIMEOUT": (r"0*[1-9]\d{0,4}[smhd]", "a number of seconds, minutes, hours or days, such as 90m or 6h"),
    "TRAIN_BUCKET": (r".*", ""),
}


@dataclass(frozen=True)
class Settings:
    """How this process is configured. See the table in README.md."""

    host: str
    port: int
    data_dir: Path
    reranker_model: str
    engine: str
    api_token: str | None
    admin_users: tuple[str, ...]
    backup_repo: str | None
    max_models_gb: float
    overlap: int | None
    overlap_share: float
    lease_minutes: float
    checkpoint_seconds: float
    train_launcher: str
    train_processes: int
    train_flavor: str
    train_image: str
    train_timeout: str
    train_bucket: str | None
    on_space: bool
    sign_in: bool

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from `environ` (default: the process environment).

        Raises InvalidInput naming the first setting that has a wrong value.
        """
        env = os.environ if environ is None else environ
        on_space = bool(env.get("SPACE_ID"))
        return cls(
            host=env.get("HOST", "").strip() or ("0.0.0.0" if on_space else "127.0.0.1"),
            port=_port(env.get("PORT", "").strip() or "7860"),
            data_dir=_data_dir(env.get("DATA_DIR", "").strip()),
            reranker_model=env.get("RERANKER_MODEL", "").strip() or DEFAULT_MODEL,
            engine=_one_of(ENGINES, "ENGINE", env.get("ENGINE", "").strip().lower() or "auto"),
            api_token=_api_token(env.get("API_TOKEN")),
            admin_users=tuple(name.strip() for name in env.get("ADMIN_USERS", "").split(",") if name.strip()),
            backup_repo=_repo_id("BACKUP_REPO", env.get("BACKUP_REPO", "").strip()),
            max_models_gb=_gigabytes(env.get("MAX_MODELS_GB", "").strip() or "10"),
            overlap=_overlap(env.get("OVERLAP", "").strip()),
            overlap_share=_share(env.get("OVERLAP_SHARE", "").strip() or "1"),
            lease_minutes=_minutes(env.get("LEASE_MINUTES", "").strip() or "15"),
            checkpoint_seconds=_seconds(env.get("CHECKPOINT_SECONDS", "").strip() or "15"),
            train_launcher=_one_of(
                LAUNCHERS, "TRAIN_LAUNCHER", env.get("TRAIN_LAUNCHER", "").strip().lower() or "python"
            ),
            train_processes=_processes(env),
            **_train_job(env),
            on_space=on_space,
            # Set by a Space whose README.md asks for hf_oauth.
            sign_in=on_space and bool(env.get("OAUTH_CLIENT_ID")) and bool(env.get("ADMIN_USERS")),
        )

    @property
    def database_path(self) -> Path:
        return self.data_dir / "workbench.db"

    @property
    def models_dir(self) -> Path:
        return self.data_dir / "models"

    @property
    def runs_dir(self) -> Path:
        return self.data_dir / "runs"

    @property
    def conversions_dir(self) -> Path:
        """Where models are kept as they were converted for scoring; may be deleted at any time."""
        return self.data_dir / "engines"

    def describe(self) -> str:
        """One line with every setting, secrets masked."""
        shown = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "api_token":
                value = "(set)" if value else "(not set)"
            elif value is None:
                value = "(not set)"
            elif isinstance(value, tuple):
                value = ",".join(value) or "(none)"
            shown.append(f"{field.name.upper()}={value}")
        return " ".join(shown)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise InvalidInput(f"PORT is {text!r}, but it has to be a whole number from 0 to 65535.")
    return int(text)


def _one_of(choices: tuple[str, ...], name: str, value: str) -> str:
    if value not in choices:
        raise InvalidInput(f"{name} is {value!r}, but it has to be one of: {', '.join(choices)}.")
    return value


def _gigabytes(text: str) -> float:
    if not 0 < _number(text) < 1e6:
        raise InvalidInput(f"MAX_MODELS_GB is {text!r}, but it has to be a number of gigabytes above 0, such as 10.")
    return _number(text)


def _overlap(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 100:
        raise InvalidInput(f"OVERLAP is {text!r}, but it has to be a whole number from 1 to 100, or left out.")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _share(text: str) -> float:
    if not 0 <= _number(text) <= 1:
        raise InvalidInput(f"OVERLAP_SHARE is {text!r}, but it has to be a number from 0 to 1.")
    return _number(text)


def _minutes(text: str) -> float:
    if not 0 < _number(text) <= 1440:
        raise InvalidInput(f"LEASE_MINUTES is {text!r}, but it has to be a number above 0, up to 1440 (a day).")
    return _number(text)


def _seconds(text: str) -> float:
    if not 0 <= _number(text) <= 86400:
        raise InvalidInput(f"CHECKPOINT_SECONDS is {text!r}, but it has to be a number from 0 to 86400 (a day).")
    return _number(text)


def _processes(env: Mapping[str, str]) -> int:
    text = env.get("TRAIN_PROCESSES", "").strip() or "1"
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 64:
        raise InvalidInput(f"TRAIN_PROCESSES is {text!r}, but it has to be a whole number from 1 to 64.")
    if int(text) > 1 and env.get("TRAIN_LAUNCHER", "").strip().lower() not in ("accelerate", "hf_job"):
        raise InvalidInput(f"TRAIN_PROCESSES is {text}, which takes TRAIN_LAUNCHER=accelerate or hf_job beside it.")
    return int(text)


def _train_job(env: Mapping[str, str]) -> dict[str, str | None]:
    """The settings of a training as a Hugging Face Job. Which flavors there are, the Hub alone knows."""
    given = {name: env.get(name, "").strip() for name in TRAIN_JOB}
    on_hub = env.get("TRAIN_LAUNCHER", "").strip().lower() == "hf_job"
    for name, text in given.items():
        pattern, example = TRAIN_JOB[name]
        if text and not on_hub:
            raise InvalidInput(f"{name} is {text!r}, which takes TRAIN_LAUNCHER=hf_job beside it.")
        if text and not re.fullmatch(pattern, text, re.ASCII):
            raise InvalidInput(f"{name} is {text!r}, but it has to be {example}.")
    if on_hub and env.get("HF_HUB_OFFLINE", "").strip().upper() in ("1", "ON", "YES", "TRUE"):
        raise InvalidInput(
            "TRAIN_LAUNCHER is 'hf_job', but HF_HUB_OFFLINE forbids asking the Hub for one. Set one only."
        )
    return {
        "train_flavor": given["TRAIN_FLAVOR"] or "t4-small",
        "train_image": given["TRAIN_IMAGE"] or f"python:{sys.version_info.major}.{sys.version_info.minor}",
        "train_timeout": given["TRAIN_TIMEOUT"] or "6h",
        "train_bucket": _repo_id("TRAIN_BUCKET", given["TRAIN_BUCKET"]),
    }


def _api_token(text: str | None) -> str | None:
    if text is None or text == "":
        return None
    if text != text.strip() or not text.isascii() or not text.isprintable():
        raise InvalidInput(
            "API_TOKEN has spaces around it or characters that an HTTP header cannot carry. Choose another."
        )
    return text


def _repo_id(name: str, text: str) -> str | None:
    return check_repo_id(text, name) if text else None


def _data_dir(text: str) -> Path:
    if not text:
        return Path("/data") if os.access("/data", os.W_OK) else Path.cwd() / "data"
    try:
        path = Path(text).expanduser().absolute()
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise InvalidInput(f"DATA_DIR is {text!r}, but that folder cannot be made: {reason}.") from error
    if not os.access(path, os.W_OK):
        raise InvalidInput(f"DATA_DIR is {text!r}, but that folder cannot be written to.")
    return path
