"""python -m reranker.hub_download MODEL_ID: download a model and print where it is, or why it could not be had.

Prints a line when it begins to ask the Hub, which on a slow machine is seconds after its start, and in the end one line
of JSON: {"path": DIRECTORY} or {"error": SENTENCE}. Only what a cross-encoder needs is fetched. Whoever
starts this process holds its standard input: when that is closed, on purpose or because its holder died, the process
throws away what it has of unfinished files and ends. So it never outlives the app.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time

from errors import first_line

# What a model has to have on this disk to be complete, as far as its repository holds such files.
NEEDED = ["*.json", "*.txt", "*.safetensors", "*.model", "*.jinja"]
PATTERNS = [*NEEDED, "README.md"]
# Copies of the weights for other runtimes, which nothing here reads.
IGNORED = ["onnx/*", "openvino/*"]
# Written to the disk in pieces so small that a slow download can be told from one that stands still.
CHUNK_BYTES = 16_384
# Longer than a thread takes to open a file.
SECONDS_TO_OPEN = 0.05


def download(model_id: str) -> dict[str, str]:
    """Fetch `model_id` into the Hub's cache; returns {"path": ...} or {"error": ...}."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    print("asking", flush=True)
    try:
        path = snapshot_download(model_id, allow_patterns=PATTERNS, ignore_patterns=IGNORED)
    except HFValidationError:
        return {"error": f"{model_id!r} is not the id of a model on the Hub, such as owner/name."}
    except GatedRepoError:
        return {"error": f"{model_id} is gated: accept its terms on the Hub and set HF_TOKEN to a token of yours."}
    except RepositoryNotFoundError:
        return {"error": f"There is no model {model_id} on the Hub, or it is private and needs HF_TOKEN."}
    except LocalEntryNotFoundError as error:
        if isinstance(error.__cause__, OfflineModeIsEnabled):
            return {"error": f"{model_id} is not in the cache, and HF_HUB_OFFLINE forbids asking the Hub for it."}
        return {"error": f"The Hub cannot be reached to download {model_id}: {_reason(error.__cause__ or error)}"}
    except Exception as error:  # whatever else the network does is one thing to a user: the Hub is out of reach
        return {"error": f"The Hub did not deliver {model_id}: {_reason(error)}"}
    return {"path": path}


def _reason(error: BaseException) -> str:
    reason = first_line(error)
    return reason if reason.endswith((".", "!", "?")) else f"{reason}."


class UnfinishedFiles:
    """The files of the download that are begun and not finished, as this process opens them.

    What is open at a moment cannot be told by looking: the download begins the next file while one looks. So each is
    noted down before it is opened, and once `throw_away` has begun none is.
    """

    def __init__(self) -> None:
        self._begun: set[str] = set()
        self._ending = threading.Event()
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple) -> None:
        if event == "open" and str(arguments[0]).endswith(".incomplete"):
            self._begun.add(str(arguments[0]))
            if self._ending.is_set():
                threading.Event().wait()

    def throw_away(self) -> None:
        """Delete them all. Whoever opens one from now on waits for ever, so this is for the end of a process."""
        self._ending.set()
        self._delete()
        # Once more for what had been noted down, but was not opened yet.
        time.sleep(SECONDS_TO_OPEN)
        self._delete()

    def _delete(self) -> None:
        for path in list(self._begun):
            with contextlib.suppress(OSError):  # most of them are finished
                os.unlink(path)


def _end_with_stdin(unfinished: UnfinishedFiles) -> None:
    """Wait until standard input is closed, then end this process and leave no unfinished file behind."""
    while os.read(0, 1):  # not sys.stdin, whose lock would be held when the interpreter ends
        pass
    unfinished.throw_away()
    os._exit(1)


def main(model_id: str) -> None:
    """Download and print the outcome."""
    from huggingface_hub import constants

    threading.Thread(target=_end_with_stdin, args=(UnfinishedFiles(),), daemon=True).start()
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
    # Xet writes a file in pieces of many megabytes; plain HTTP shows at any moment how much has come.
    constants.HF_HUB_DISABLE_XET = True
    print(json.dumps(download(model_id)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
