"""Asking the Hub in a process of its own, where that process does not get far."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from storage import hub


@pytest.mark.parametrize("program", ["/bin/false", "/not/there"])
def test_a_process_that_never_reads_what_it_is_asked_is_a_hub_that_failed(
    monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    # More than a pipe holds, so that not all of it is written before the process ends.
    request = {"do": "push_model", "repo": "a/b", "files": ["model.safetensors"] * 100_000}
    with pytest.raises(hub.HubFailed, match="ended without an answer"):
        hub.ask(request, 60, 60, lambda: math.inf, None)


def test_a_machine_that_takes_long_to_start_the_process_leaves_the_hub_its_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nsleep 3\necho asking\necho '{\"file\": \"copy\"}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert hub.ask({"do": "fetch", "repo": "a/b"}, 2, 60, lambda: math.inf, None) == {"file": "copy"}
