"""What can be the name of something on the Hugging Face Hub."""

from __future__ import annotations

import re

from errors import InvalidInput


def check_repo_id(text: str, what: str) -> str:
    """Return `text` if it can be the name of a repository or a bucket on the Hub; `what` names it in the message.

    Raises InvalidInput.
    """
    # Here, so that a start without one does not wait for the import.
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    wrong = f"{what} is {text!r}, but it has to be a name on the Hub with its owner: owner/name."
    if "/" not in text:
        raise InvalidInput(wrong)
    try:
        validate_repo_id(text)
    except HFValidationError as error:
        raise InvalidInput(f"{wrong} {error}") from error
    return text


def bare_id(text: str) -> str:
    """The name in what somebody copied: without spaces, and of an address, which may be that of any page of it, the
    part that is the name."""
    path = re.sub(r"^(https?://[^/]+/)?(datasets/)?", "", text.strip())
    of_a_page = re.match(r"[^/?#]+/[^/?#]+", path) if "://" in text else None
    return of_a_page[0] if of_a_page else path.rstrip("/")
