"""Errors whose message is fit to be shown to a person.

Everything that can go wrong because of what somebody typed, sent or asked for is a WorkbenchError. Its message says
what happened and what to do about it. The page turns it into a notice, the HTTP interface into an error body.
"""


class WorkbenchError(Exception):
    """Base of all errors that a user may see. `code` is the stable, machine-readable name."""

    code = "error"


class InvalidInput(WorkbenchError):
    """What was sent cannot be used as it is."""

    code = "invalid_input"


class TooLarge(WorkbenchError):
    """More was sent than is accepted at once."""

    code = "too_large"


class NotFound(WorkbenchError):
    """The thing that was named does not exist."""

    code = "not_found"


class Conflict(WorkbenchError):
    """It cannot be done in the present state, but may be later."""

    code = "conflict"


class NotAllowed(WorkbenchError):
    """The caller may not do this."""

    code = "not_allowed"


class TokenRequired(WorkbenchError):
    """The caller has to show the API token first."""

    code = "token_required"


class UnusableModel(WorkbenchError):
    """A model directory or Hub id that does not hold a cross-encoder this app can use."""

    code = "unusable_model"


class ModelNotReady(WorkbenchError):
    """The model is still loading, or could not be loaded."""

    code = "model_not_ready"


class HubRefused(WorkbenchError):
    """The Hugging Face Hub did not do what it was asked."""

    code = "hub_refused"


def first_line(error: BaseException) -> str:
    """What an error of a library says, in one line that fits in a sentence; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
