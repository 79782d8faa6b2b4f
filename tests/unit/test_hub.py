"""What is asked of the Hub in a child process, where that child does not do its part."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from storage import hub


@pytest.mark.parametrize("child", ["/bin/false", "/no/such/program"])
def test_a_child_that_is_gone_before_it_is_asked_is_told_as_any_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, child: str
) -> None:
    monkeypatch.setattr(sys, "executable", child)
    # More than a pipe holds, so that it is seen that nobody reads it.
    request = {"do": "push_model", "repo": "owner/name", "folder": str(tmp_path), "message": "x" * 1_000_000}
    with pytest.raises(hub.HubFailed, match="ended without an answer"):
        hub.ask(request, 5, 5, lambda: float("inf"), None)
