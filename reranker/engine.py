"""How pairs are scored: OpenVINO or torch, in the precision that the machine is fast in.

An engine gets tokenized pairs and gives logits. All of them sort by tokens and pad little, which is most of what plain
sentence-transformers leaves on the table; they differ in who multiplies the matrices. `loading.py` chooses one.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from reranker.tokens import EncodedPair, batches_by_tokens, padded_length

if TYPE_CHECKING:
    import openvino
    import torch
    from sentence_transformers import CrossEncoder

# Converting a model would tell OpenVINO's makers of it, from a forked process, which beside other threads may hang for
# ever. Without this package OpenVINO keeps it to itself. It has to be out of the way before OpenVINO is imported.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

# Models are converted one at a time: tracing has functions of Python and of transformers replaced in the whole process.
_CONVERTING = threading.Lock()

Backend = Literal["openvino", "torch", "sentence-transformers"]
Precision = Literal["float32", "bfloat16", "float16"]

# Tokens in a batch, and in a turn of the queue: a graphics processor wants many, a processor is as fast with few, and
# the sooner a turn is over, the sooner the next request gets one.
CPU_BATCH_TOKENS, CPU_TURN_TOKENS = 1024, 4096
GPU_BATCH_TOKENS, GPU_TURN_TOKENS = 16_384, 65_536


@dataclass(frozen=True)
class Plan:
    """A way to score: the library that does it, and the precision it does it in."""

    backend: Backend
    precision: Precision

    def __str__(self) -> str:
        names = {"openvino": "OpenVINO", "torch": "torch", "sentence-transformers": "plain sentence-transformers"}
        return f"{names[self.backend]} in {self.precision}"


class Engine(Protocol):
    """Scores tokenized pairs. `turn_tokens` is how many tokens are worth scoring at once."""

    plan: Plan
    turn_tokens: int

    def score(self, pairs: Sequence[EncodedPair]) -> np.ndarray:
        """The (N,) float32 logits of N pairs, in the order given. Called by one thread at a time."""


@dataclass(frozen=True)
class InputFormat:
    """What a model takes: the names of its inputs, and the id that pads a short pair."""

    names: tuple[str, ...]
    pad_id: int

    def arrays(self, pairs: Sequence[EncodedPair]) -> dict[str, np.ndarray]:
        """The inputs for a batch, each (N, T) int64, T the length that the longest pair is padded to."""
        shape = (len(pairs), max(padded_length(pair) for pair in pairs))
        values = {name: np.zeros(shape, np.int64) for name in self.names}
        values["input_ids"].fill(self.pad_id)
        for row, pair in enumerate(pairs):
            length = len(pair.ids)
            values["input_ids"][row, :length] = pair.ids
            values["attention_mask"][row, :length] = 1
            if "token_type_ids" in values:
                values["token_type_ids"][row, :length] = pair.type_ids
        return values


class TorchEngine:
    """A torch model on whatever device it is on."""

    def __init__(self, model: torch.nn.Module, inputs: InputFormat, precision: Precision) -> None:
        """`model` is a sequence classifier of transformers with one output; it is used as it is, without a copy."""
        import torch

        self.plan = Plan("torch", precision)
        self.inputs = inputs
        self.device = next(model.parameters()).device
        self.model = model.to(getattr(torch, precision)).eval()
        on_cpu = self.device.type == "cpu"
        self.batch_tokens = CPU_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS
        self.turn_tokens = CPU_TURN_TOKENS if on_cpu else GPU_TURN_TOKENS

    def score(self, pairs: Sequence[EncodedPair]) -> np.ndarray:
        """See Engine."""
        import torch

        scores = torch.zeros(len(pairs), device=self.device)
        with torch.inference_mode():
            for batch in batches_by_tokens([padded_length(pair) for pair in pairs], self.batch_tokens):
                arrays = self.inputs.arrays([pairs[place] for place in batch])
                tensors = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
                scores[batch] = self.model(**tensors).logits[:, 0].float()
        return scores.cpu().numpy()


class OpenVINOEngine:
    """A compiled OpenVINO model on the processor."""

    def __init__(self, model: openvino.Model | Path, inputs: InputFormat, precision: Precision) -> None:
        """`model` is a converted one (see `convert`), or the .xml file of one."""
        import openvino

        self.plan = Plan("openvino", precision)
        self.inputs = inputs
        self.turn_tokens = CPU_TURN_TOKENS
        hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
        compiled = openvino.Core().compile_model(
            model, "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        )
        self._request = compiled.create_infer_request()

    def score(self, pairs: Sequence[EncodedPair]) -> np.ndarray:
        """See Engine."""
        scores = np.zeros(len(pairs), np.float32)
        for batch in batches_by_tokens([padded_length(pair) for pair in pairs], CPU_BATCH_TOKENS):
            outputs = self._request.infer(self.inputs.arrays([pairs[place] for place in batch]))
            scores[batch] = outputs[0][:, 0]
        return scores


class LibraryEngine:
    """`CrossEncoder.predict` as it is: for models that take their text in some other way, and to compare with."""

    def __init__(self, cross_encoder: CrossEncoder) -> None:
        self.plan = Plan("sentence-transformers", "float32")
        self.cross_encoder = cross_encoder
        self.turn_tokens = CPU_TURN_TOKENS if cross_encoder.device.type == "cpu" else GPU_TURN_TOKENS

    def score(self, pairs: Sequence[EncodedPair]) -> np.ndarray:
        """See Engine."""
        texts = [(pair.query, pair.passage) for pair in pairs]
        return self.cross_encoder.predict(texts, batch_size=8, show_progress_bar=False)


def capabilities() -> list[str]:
    """What OpenVINO says that this processor is made for, such as FP32, BF16 and INT8."""
    import openvino

    return openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@contextlib.contextmanager
def _attention_that_converts(model: torch.nn.Module) -> Iterator[None]:
    """Has a model that attends to a window around each token, as ModernBERT does, add its masks to its scores.

    Padding outside of every window may attend to nothing, and OpenVINO's own attention makes that no number.
    """
    before = model.config._attn_implementation
    if "sliding_attention" in (getattr(model.config, "layer_types", None) or ()):
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        if model.config._attn_implementation != before:
            model.set_attn_implementation(before)


def convert(model: torch.nn.Module, inputs: InputFormat, example: Sequence[EncodedPair]) -> openvino.Model:
    """An OpenVINO model of a torch one, for batches of any size and length. `example` is what it is traced with."""
    import openvino
    import torch

    class Logits(torch.nn.Module):
        """The model with its inputs in their order and nothing but the logits as its output."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return self.model(**dict(zip(inputs.names, tensors, strict=True))).logits

    arrays = inputs.arrays(example)
    tensors = tuple(torch.from_numpy(arrays[name]).to(next(model.parameters()).device) for name in inputs.names)
    any_shape = openvino.PartialShape([-1, -1])
    with _CONVERTING, torch.no_grad(), _attention_that_converts(model), warnings.catch_warnings():
        # That tracing fixes what depends on the shape: whether it does is what the check finds out.
        warnings.simplefilter("ignore")
        converted = openvino.convert_model(
            Logits().eval(), example_input=tensors, input=[any_shape] * len(inputs.names)
        )
    for port, name in zip(converted.inputs, inputs.names, strict=True):
        port.get_tensor().set_names({name})
    return converted
