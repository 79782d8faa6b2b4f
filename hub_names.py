"""What can be the name of something on the Hugging Face Hub."""

from __future__ import annotations

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
