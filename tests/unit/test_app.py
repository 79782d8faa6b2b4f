"""What `python app.py` says before it starts, where it cannot."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import app
from errors import InvalidInput
from tests.conftest import make_settings


def test_signing_in_without_what_it_needs_is_one_line_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_space = {"SPACE_ID": "acme/workbench", "ADMIN_USERS": "anna"}
    signing_in = make_settings(tmp_path, Path("starter"), OAUTH_CLIENT_ID="id", **on_space)
    installed: set[str] = set()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in installed else None)
    app.check_installed(make_settings(tmp_path, Path("starter"), **on_space))
    with pytest.raises(InvalidInput, match=r"authlib and itsdangerous is missing.*pip install .gradio\[oauth\].$"):
        app.check_installed(signing_in)
    installed.add("authlib")
    with pytest.raises(InvalidInput, match="but itsdangerous is missing"):
        app.check_installed(signing_in)
    installed.add("itsdangerous")
    app.check_installed(signing_in)
