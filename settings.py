"""Settings, read once from the environment. Nothing else reads environment variables, but for the process that trains:
what launches several of it tells each of them its RANK and the WORLD_SIZE (reranker/training.py).

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
from typing import TypeVar

from errors import InvalidInput
from hub_names import check_repo_id

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

# Who may label on the page: see server/access.py.
LABELING = ("open", "signed-in", "closed")

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
}

Default = TypeVar("Default", int, None)


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
    labeling: str
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
        environ = os.environ if environ is None else environ
        env = {name: text.strip() for name, text in environ.items()}
        on_space = bool(env.get("SPACE_ID"))
        # Set by a Space whose README.md asks for hf_oauth.
        can_sign_in = on_space and bool(env.get("OAUTH_CLIENT_ID"))
        admin_users = tuple(name.strip() for name in env.get("ADMIN_USERS", "").split(",") if name.strip())
        labeling = _labeling(env, can_sign_in)
        return cls(
            host=env.get("HOST") or ("0.0.0.0" if on_space else "127.0.0.1"),
            port=_whole(env, "PORT", 7860, 0, 65535),
            data_dir=_data_dir(env.get("DATA_DIR")),
            reranker_model=env.get("RERANKER_MODEL") or DEFAULT_MODEL,
            engine=_one_of(env, "ENGINE", ENGINES),
            api_token=_api_token(environ.get("API_TOKEN")),
            admin_users=admin_users,
            labeling=labeling,
            backup_repo=_repo_id(env, "BACKUP_REPO"),
            max_models_gb=_number(env, "MAX_MODELS_GB", 10, most=1_000_000),
            overlap=_whole(env, "OVERLAP", None, 1, 100),
            overlap_share=_number(env, "OVERLAP_SHARE", 1, most=1, may_be_0=True),
            lease_minutes=_number(env, "LEASE_MINUTES", 15, most=24 * 60),
            checkpoint_seconds=_number(env, "CHECKPOINT_SECONDS", 15, most=24 * 60 * 60, may_be_0=True),
            train_launcher=_one_of(env, "TRAIN_LAUNCHER", LAUNCHERS),
            train_processes=_processes(env),
            **_train_job(env),
            on_space=on_space,
            sign_in=can_sign_in and (bool(admin_users) or labeling == "signed-in"),
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


def _one_of(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """The choice that a variable names, in any case; the first where it is not set."""
    value = (env.get(name) or choices[0]).lower()
    if value not in choices:
        raise InvalidInput(f"{name} is {value!r}, but it has to be one of: {', '.join(choices)}.")
    return value


def _labeling(env: Mapping[str, str], can_sign_in: bool) -> str:
    chosen = _one_of(env, "LABELING", LABELING)
    if chosen == "signed-in" and not can_sign_in:
        raise InvalidInput(
            "LABELING is 'signed-in', but people can sign in only on a Space whose README.md says hf_oauth: true."
        )
    return chosen


def _whole(env: Mapping[str, str], name: str, default: Default, least: int, most: int) -> int | Default:
    text = env.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= most:
        raise InvalidInput(f"{name} is {text!r}, but it has to be a whole number from {least} to {most}.")
    return int(text)


def _number(env: Mapping[str, str], name: str, default: float, most: float, may_be_0: bool = False) -> float:
    text = env.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most or (number == 0 and not may_be_0):
        limits = f"from 0 to {most}" if may_be_0 else f"above 0, up to {most}"
        raise InvalidInput(f"{name} is {text!r}, but it has to be a number {limits}.")
    return number


def _processes(env: Mapping[str, str]) -> int:
    count = _whole(env, "TRAIN_PROCESSES", 1, 1, 64)
    if count > 1 and _one_of(env, "TRAIN_LAUNCHER", LAUNCHERS) == "python":
        raise InvalidInput(f"TRAIN_PROCESSES is {count}, which takes TRAIN_LAUNCHER=accelerate or hf_job beside it.")
    return count


def _train_job(env: Mapping[str, str]) -> dict[str, str | None]:
    """The settings of a training as a Hugging Face Job. Which flavors there are, the Hub alone knows."""
    on_hub = _one_of(env, "TRAIN_LAUNCHER", LAUNCHERS) == "hf_job"
    for name in (*TRAIN_JOB, "TRAIN_BUCKET"):
        if (text := env.get(name)) and not on_hub:
            raise InvalidInput(f"{name} is {text!r}, which takes TRAIN_LAUNCHER=hf_job beside it.")
    for name, (pattern, example) in TRAIN_JOB.items():
        if (text := env.get(name)) and not re.fullmatch(pattern, text, re.ASCII):
            raise InvalidInput(f"{name} is {text!r}, but it has to be {example}.")
    if on_hub and env.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise InvalidInput(
            "TRAIN_LAUNCHER is 'hf_job', but HF_HUB_OFFLINE forbids asking the Hub for one. Set one only."
        )
    return {
        "train_flavor": env.get("TRAIN_FLAVOR") or "t4-small",
        "train_image": env.get("TRAIN_IMAGE") or f"python:{sys.version_info.major}.{sys.version_info.minor}",
        "train_timeout": env.get("TRAIN_TIMEOUT") or "6h",
        "train_bucket": _repo_id(env, "TRAIN_BUCKET"),
    }


def _api_token(text: str | None) -> str | None:
    if not text:
        return None
    if text != text.strip() or not text.isascii() or not text.isprintable():
        raise InvalidInput(
            "API_TOKEN has spaces around it or characters that an HTTP header cannot carry. Choose another."
        )
    return text


def _repo_id(env: Mapping[str, str], name: str) -> str | None:
    text = env.get(name)
    return check_repo_id(text, name) if text else None


def _data_dir(text: str | None) -> Path:
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
