"""Loads a model directory and chooses the engine that scores with it.

The ways to score are tried in order, the fastest for this machine first. Each is checked once on real pairs against
what plain sentence-transformers gives in float32; one whose ranks differ, or that cannot be built, is passed over with
a reason. A model that OpenVINO scores is kept as it was converted, with the outcome of the check (conversions.py), so
that the next start needs neither torch nor transformers.

Converting and checking take some seconds. Where somebody waits for a model, `load_at_once` has one that scores
plainly until then, and convert.py makes the conversion outside of the app's process.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from errors import UnusableModel, first_line
from reranker import engine as engines
from reranker.conversions import Conversion, LoadedModel
from reranker.engine import Engine, InputFormat, LibraryEngine, OpenVINOEngine, Plan, TorchEngine
from reranker.tokens import PairTokenizer

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

log = logging.getLogger(__name__)

AUTO = "auto"
PLAIN = Plan("torch", "float32")
LAST_RESORT = Plan("sentence-transformers", "float32")
# What the setting ENGINE may name besides AUTO: a library, or the precision too.
LIBRARIES = ("openvino", "torch")
PLANS = {
    "openvino-float32": Plan("openvino", "float32"),
    "openvino-bfloat16": Plan("openvino", "bfloat16"),
    "torch-float32": PLAIN,
    "torch-bfloat16": Plan("torch", "bfloat16"),
    "torch-float16": Plan("torch", "float16"),
    "sentence-transformers": LAST_RESORT,
}

# How alike the ranks have to be. Passages whose scores are closer than TIE standard deviations of all scores count as
# tied: a cross-encoder gives nearly the same low score to everything that has nothing to do with the query.
TIE = 0.05
LEAST_CONCORDANCE = 0.98
# An engine that gives the right order by wrong scores is no use either: their sigmoid is shown as a probability. Scores
# may be off by so many standard deviations at most; bfloat16 and float16 are off by some hundredths of one.
LARGEST_ERROR = 0.25
# How weights are read: safetensors only, and whatever they were saved in, as float32. In half precision most steps of a
# training would round away, and OpenVINO gives out what a reader takes for other numbers.
MODEL_KWARGS = {"use_safetensors": True, "dtype": "float32"}
# A tokenizer without a limit of its own says so with a number beyond all bounds.
LONGEST_LIMIT = 100_000


def load_at_once(path: Path, wanted: str = AUTO, conversions: Path | None = None) -> tuple[LoadedModel, bool]:
    """What can score soonest, and whether that is already what `load_model` would return. Arguments as there.

    That is a kept conversion, or a model that torch scores in float32 as transformers loads it; of a model that is no
    plain sequence classifier, nothing comes sooner than what `load_model` returns.
    """
    kept = Conversion.of(path, wanted, conversions) if conversions else None
    if kept and (loaded := kept.load()):
        return loaded, True
    if PLANS.get(wanted) in (PLAIN, LAST_RESORT) or not _is_plain_classifier(path):
        return load_model(path, wanted, conversions), True
    try:
        return _load_plainly(path), False
    except Exception as error:  # what is wrong with it, the library says best
        is_fault = not isinstance(error, UnusableModel)
        log.info("%s is not loaded plainly: %s", path.name, first_line(error), exc_info=is_fault)
        return load_model(path, wanted, conversions), True


def load_model(
    path: Path, wanted: str = AUTO, conversions: Path | None = None, checked: Plan | None = None
) -> LoadedModel:
    """Load the cross-encoder in the directory `path`: safetensors only, no code of its own is run.

    `wanted` is AUTO, one of LIBRARIES or one of PLANS; `conversions` a directory for converted models, None to keep
    none. `checked` is the way that a model of the same architecture and tokenizer was scored, once it had been checked:
    this one is then scored likewise. Raises UnusableModel with the reason where the model cannot be used.
    """
    kept = Conversion.of(path, wanted, conversions) if conversions else None
    if kept and (loaded := kept.load()):
        return loaded
    cross_encoder = _load_cross_encoder(path)
    tokenizer = tokenizer_of(cross_encoder)
    inputs = _inputs_of(cross_encoder.tokenizer)
    builder = _Builder(cross_encoder, tokenizer, inputs)
    notes: list[str] = []
    plans = _plans(wanted, cross_encoder.device.type, notes)
    for plan in [checked, *plans] if checked else plans:
        try:
            engine = builder.build(plan)
            agreement = "Checked on a model of its kind." if plan == checked else builder.check(engine)
        except Exception as error:  # converting and compiling fail in a dozen ways, all of which mean: take another
            if plan == LAST_RESORT:
                raise UnusableModel(f"The model loads but cannot score: {first_line(error)}") from error
            is_fault = not isinstance(error, RanksDiffer)
            log.warning("%s is not used for %s: %s", plan, path.name, first_line(error), exc_info=is_fault)
            notes.append(f"{plan} is not used: {first_line(error).rstrip('.')}.")
            continue
        loaded = LoadedModel(tokenizer, engine, " ".join([*notes, agreement]))
        log.info("%s is scored by %s. %s", path.name, plan, loaded.reason)
        if kept and builder.converted is not None and plan.backend == "openvino":
            kept.save(builder.converted, loaded, inputs)
        return loaded
    raise AssertionError("the last plan either works or raises")


class RanksDiffer(Exception):
    """An engine ranks or scores the passages of the check in another way than plain sentence-transformers does."""


def compare_ranks(expected: Sequence[np.ndarray], scores: Sequence[np.ndarray]) -> str:
    """Compare an engine's scores with the expected ones, an array (N,) for each query; returns a sentence about it.

    Raises RanksDiffer when of all two passages of a query that are not tied, fewer than LEAST_CONCORDANCE are in the
    right order, a passage comes first that is not tied with the best, or a score is off by more than LARGEST_ERROR
    standard deviations.
    """
    deviation = float(np.concatenate(expected).std())
    tie = TIE * deviation
    right_orders = orders = 0
    for right, given in zip(expected, scores, strict=True):
        if not np.isfinite(given).all():
            raise RanksDiffer("It gives scores that are not numbers")
        better = right[:, None] - right[None, :] > tie
        orders += int(better.sum())
        right_orders += int((better & (given[:, None] > given[None, :])).sum())
        if right.max() - right[np.argmax(given)] > tie:
            raise RanksDiffer("It puts another passage first than float32 does")
    if right_orders < LEAST_CONCORDANCE * orders:
        raise RanksDiffer(f"It puts {orders - right_orders} of {orders} passages in another order than float32 does")
    largest = max(float(np.abs(right - given).max()) for right, given in zip(expected, scores, strict=True))
    if largest > LARGEST_ERROR * deviation:
        raise RanksDiffer(f"Its scores are off by up to {largest:.4f}")
    return (
        f"Checked against plain sentence-transformers on {sum(map(len, scores))} pairs: {right_orders} of {orders} "
        f"orders are the same, and scores differ by at most {largest:.4f}."
    )


def check_lists() -> list[list[tuple[str, str]]]:
    """The pairs of the check, a list for each query: each example's query with the passages of all of them.

    In the first list is also one that is too long for any model.
    """
    examples = json.loads((Path(__file__).parent / "examples.json").read_text(encoding="utf-8"))
    passages = [passage for example in examples for passage in example["passages"]]
    lists = [[(example["query"], passage) for passage in passages] for example in examples]
    lists[0].append((examples[0]["query"], " ".join(passages)))
    return lists


def may_convert(wanted: str) -> bool:
    """Whether the first way that `load_model` tries here is OpenVINO's, whose conversion can be kept."""
    import torch

    return (
        wanted.startswith((AUTO, "openvino"))
        and importlib.util.find_spec("openvino") is not None
        and not torch.accelerator.is_available()
    )


def _plans(wanted: str, device: str, notes: list[str]) -> list[Plan]:
    """The ways to score, in the order to try them; `notes` gets what has to be said about the choice."""
    if wanted in PLANS:
        notes.append("Asked for by the setting ENGINE.")
        return list(dict.fromkeys([PLANS[wanted], PLAIN, LAST_RESORT]))
    if device == "cuda":
        return [Plan("torch", "float16"), PLAIN, LAST_RESORT]
    if device != "cpu":
        return [PLAIN, LAST_RESORT]
    fast = cpu_precision()
    if fast == "float32":
        notes.append("This processor does not multiply in bfloat16.")
    libraries = [wanted] if wanted in LIBRARIES else [name for name in LIBRARIES if importlib.util.find_spec(name)]
    wishes = [Plan(library, precision) for library in libraries for precision in (fast, "float32")]
    return list(dict.fromkeys([*wishes, PLAIN, LAST_RESORT]))


def cpu_precision() -> engines.Precision:
    """The precision in which this machine's processor is fastest without ranking differently."""
    import torch

    has = torch.cpu.get_capabilities()
    return "bfloat16" if has.get("avx512_bf16") or has.get("amx_bf16") else "float32"


class _Builder:
    """Builds engines for one loaded cross-encoder, and checks them."""

    def __init__(self, cross_encoder: CrossEncoder, tokenizer: PairTokenizer, inputs: InputFormat) -> None:
        self.cross_encoder = cross_encoder
        self.inputs = inputs
        self.lists = [tokenizer.encode(pairs) for pairs in check_lists()]
        self.expected: list[np.ndarray] | None = None
        self.converted: Any = None

    def build(self, plan: Plan) -> Engine:
        if plan.backend == "sentence-transformers":
            return LibraryEngine(self.cross_encoder)
        from reranker.first_token import shortened

        model = shortened(self.cross_encoder.model)
        if plan.backend == "torch":
            # A copy where the precision is another: what is compared with stays as it is.
            return TorchEngine(
                model if plan.precision == "float32" else copy.deepcopy(model), self.inputs, plan.precision
            )
        self.converted = self.converted or engines.convert(model.eval(), self.inputs, self.lists[0][:2])
        return OpenVINOEngine(self.converted, self.inputs, plan.precision)

    def check(self, engine: Engine) -> str:
        """Compare the engine's ranks with the library's. Raises RanksDiffer."""
        if isinstance(engine, LibraryEngine):
            if not np.isfinite(engine.score(self.lists[0])).all():
                raise UnusableModel("It gives scores that are not numbers: its weights are damaged.")
            return "Nothing faster works for this model."
        if self.expected is None:
            library = LibraryEngine(self.cross_encoder)
            self.expected = [library.score(pairs) for pairs in self.lists]
        return compare_ranks(self.expected, [engine.score(pairs) for pairs in self.lists])


def _is_plain_classifier(path: Path) -> bool:
    """Whether a directory holds a sequence classifier of transformers and nothing that sentence-transformers adds."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        modules = path / "modules.json"
        extra = json.loads(modules.read_text(encoding="utf-8")) if modules.is_file() else []
        own = path / "config_sentence_transformers.json"
        has_prompt = own.is_file() and json.loads(own.read_text(encoding="utf-8")).get("default_prompt_name")
        is_classifier = config["architectures"][0].endswith("ForSequenceClassification")
        return is_classifier and len(extra) <= 1 and not has_prompt
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return False


def _load_plainly(path: Path) -> LoadedModel:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from reranker.first_token import shorten

    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    if not _reads_plainly(tokenizer):
        raise UnusableModel("Its tokenizer puts pairs into a template, or cuts or pads them on the left.")
    model = AutoModelForSequenceClassification.from_pretrained(path, local_files_only=True, **MODEL_KWARGS)
    _check_head(model, path)
    if model.config.num_labels != 1:
        raise UnusableModel(f"The model in {path.name!r} has {model.config.num_labels} outputs; a reranker has one.")
    if torch.cuda.is_available():
        model = model.to("cuda")
    shorten(model)
    limit = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", LONGEST_LIMIT))
    pairs = PairTokenizer(tokenizer.backend_tokenizer.to_str(), limit)
    return LoadedModel(
        pairs,
        TorchEngine(model, _inputs_of(tokenizer), "float32"),
        "It is being converted for this machine and checked meanwhile.",
    )


def _reads_plainly(tokenizer: Any) -> bool:
    """Whether a tokenizer takes a pair as it is, and cuts and pads it as PairTokenizer and the engines do."""
    return not tokenizer.chat_template and tokenizer.truncation_side == tokenizer.padding_side == "right"


def _inputs_of(tokenizer: Any) -> InputFormat:
    return InputFormat(tuple(tokenizer.model_input_names), tokenizer.pad_token_id or 0)


def _load_cross_encoder(path: Path) -> CrossEncoder:
    import torch
    from sentence_transformers import CrossEncoder

    try:
        cross_encoder = CrossEncoder(
            str(path),
            local_files_only=True,
            activation_fn=torch.nn.Identity(),
            model_kwargs=MODEL_KWARGS,
        )
    except Exception as error:  # transformers raises a dozen kinds for a damaged or foreign directory
        raise UnusableModel(f"The model in {path.name!r} cannot be loaded: {first_line(error)}") from error
    _check_head(cross_encoder.model, path)
    if cross_encoder.num_labels != 1:
        raise UnusableModel(f"The model in {path.name!r} has {cross_encoder.num_labels} outputs; a reranker has one.")
    return cross_encoder


def _check_head(model: Any, path: Path) -> None:
    """Raise UnusableModel where the weights are of an encoder alone: its classifier would be drawn by chance."""
    from safetensors import safe_open

    if not type(model).__name__.endswith("ForSequenceClassification"):
        return
    saved: set[str] = set()
    for file in path.glob("*.safetensors"):
        with safe_open(file, framework="numpy") as weights:
            saved.update(weights.keys())
    head = [name for name, _ in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.")]
    if head and not saved.intersection(head):
        raise UnusableModel(
            f"The model in {path.name!r} has no weights for what gives the score ({head[0]}): it is an encoder and no "
            "reranker. Choose a cross-encoder."
        )


def tokenizer_of(cross_encoder: CrossEncoder) -> PairTokenizer:
    """What tokenizes as this cross-encoder does. Raises UnusableModel for a tokenizer of an old, slow kind."""
    backend = getattr(cross_encoder.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UnusableModel("The model has a tokenizer of a kind that is not read.")
    limit = cross_encoder.max_seq_length or 512
    return PairTokenizer(backend.to_str(), min(limit, LONGEST_LIMIT))


def logits(cross_encoder: CrossEncoder, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """The (N,) logits that a cross-encoder gives as it is, unchecked, in the precision that torch is set to."""
    import torch

    from reranker.first_token import shortened

    is_classifier = type(cross_encoder.model).__name__.endswith("ForSequenceClassification")
    if not is_classifier or cross_encoder.default_prompt_name or not _reads_plainly(cross_encoder.tokenizer):
        return cross_encoder.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    scorer = TorchEngine(shortened(cross_encoder.model), _inputs_of(cross_encoder.tokenizer), "float32")
    return scorer.score(tokenizer_of(cross_encoder).encode(list(pairs)))
