"""Models as they were converted for this machine, kept on the disk with the outcome of their check.

A model that OpenVINO scores is loaded from here in half a second, without torch and transformers. What it was made for
is kept with it: another processor, OpenVINO or setting has it made again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reranker.engine import Engine, InputFormat, OpenVINOEngine, capabilities
from reranker.tokens import PairTokenizer

log = logging.getLogger(__name__)

# Converted models on the disk: those that were used last. Another one is made again when it is needed.
KEPT_CONVERSIONS = 4
UNFINISHED = "unfinished-"
SECONDS_TO_WRITE = 600
FORMAT = 3


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to score, and in a sentence for people why this engine scores with it."""

    tokenizer: PairTokenizer
    engine: Engine
    reason: str


@dataclass(frozen=True)
class Conversion:
    """A converted model on the disk: `model.xml` with `model.bin`, `tokenizer.json` and `engine.json`."""

    directory: Path
    made_for: dict[str, Any]

    @classmethod
    def of(cls, model_path: Path, wanted: str, root: Path) -> Conversion | None:
        """Where the conversion of a model would be; None where OpenVINO is not installed."""
        if not importlib.util.find_spec("openvino"):
            return None
        import openvino

        made_for = {
            "format": FORMAT,
            "wanted": wanted,
            "openvino": openvino.__version__,
            "processor": openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"),
            "capabilities": capabilities(),
        }
        return cls(root / _digest(model_path), made_for)

    def load(self) -> LoadedModel | None:
        """The model as it was kept; None where there is none, or it was made for another machine or setting."""
        try:
            facts = json.loads((self.directory / "engine.json").read_text(encoding="utf-8"))
            if facts["made_for"] != self.made_for:
                return None
            inputs = InputFormat(tuple(facts["inputs"]["names"]), facts["inputs"]["pad_id"])
            engine = OpenVINOEngine(self.directory / "model.xml", inputs, facts["precision"])
            definition = (self.directory / "tokenizer.json").read_text(encoding="utf-8")
            (self.directory / "engine.json").touch()
            return LoadedModel(PairTokenizer(definition, facts["max_tokens"]), engine, facts["reason"])
        except FileNotFoundError:
            return None
        except Exception:  # whatever is wrong with a kept conversion, it can be made again
            log.warning("A converted model cannot be used and is made again", exc_info=True)
            return None

    def save(self, converted: Any, loaded: LoadedModel, inputs: InputFormat) -> None:
        """Keep a conversion, in one step. What goes wrong is only logged: the model is loaded already."""
        import openvino

        try:
            self.directory.parent.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.directory.parent))
            openvino.save_model(converted, unfinished / "model.xml", compress_to_fp16=False)
            (unfinished / "tokenizer.json").write_text(loaded.tokenizer.definition, encoding="utf-8")
            facts = {
                "made_for": self.made_for,
                "precision": loaded.engine.plan.precision,
                "inputs": asdict(inputs),
                "max_tokens": loaded.tokenizer.max_tokens,
                "reason": loaded.reason,
            }
            (unfinished / "engine.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
            shutil.rmtree(self.directory, ignore_errors=True)
            unfinished.rename(self.directory)
            forget_oldest(self.directory.parent)
        except OSError as error:
            log.warning("The converted model could not be kept: %s", error)


def forget_oldest(root: Path) -> None:
    """Remove the conversions in the directory `root` but those that were used last, and what was never finished."""
    kept = sorted(root.glob("*/engine.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[KEPT_CONVERSIONS:]:
        shutil.rmtree(path.parent, ignore_errors=True)
    # What a process left that was ended while it wrote.
    for path in root.glob(f"{UNFINISHED}*"):
        if time.time() - path.stat().st_mtime > SECONDS_TO_WRITE:
            shutil.rmtree(path, ignore_errors=True)


def _digest(path: Path) -> str:
    """A name for what a model directory holds: other weights, configuration or tokenizer give another."""
    digest = hashlib.sha256()
    kinds = ("*.json", "*.txt", "*.jinja", "*.safetensors")
    for file in sorted(file for kind in kinds for file in path.glob(kind)):
        digest.update(file.name.encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:32]
