"""How a training run is configured: the recipes by name, and the values that may be changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from errors import InvalidInput
from reranker.losses import FOR_CLASSES, LOSSES, WHY_NOT_FOR_CLASSES

Promote = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a recipe, and a line for people about what it is.

    With `fast`, batches are worked through in parts of similar length, in bfloat16 where the machine multiplies in it
    (see trainer.py): the gradient is the same up to rounding. Without, it is the plain trainer's bit for bit. The
    learning rate rises during the first `warmup` of the steps, a share of them all, and then falls to 0. With `anchor`,
    a loss that is a mean over pairs has so many times the drift on pairs without a label added to it (anchor.py). With
    `folds` as many more models are trained, each without a part of the queries, and the mean of all is kept
    (cross_check.py). With more labels to train on than `choice_above`, where it is not 0, the folds also say whether
    the anchor is worth having.
    """

    name: str
    description: str
    fast: bool
    loss: str
    warmup: float
    anchor: float
    folds: int
    choice_above: int
    epochs: int
    learning_rate: float
    batch_size: int
    seed: int


# Out of some dozen labels classic makes a handful of steps. More and larger ones learn more, and more of it is chance;
# in the mean of several models most of the chance is gone (averaging.py), and what all of them share of it is held back
# by what they knew before (anchor.py).
DEFAULT = Recipe(
    name="default",
    description="keeps what the model knew; with few labels the mean of four models",
    fast=True,
    loss="BinaryCrossEntropyLoss",
    warmup=0.1,
    anchor=0.1,
    folds=3,
    # What the folds say of the anchor with fewer labels is mostly chance.
    choice_above=100,
    epochs=4,
    learning_rate=1e-4,
    batch_size=8,
    seed=42,
)
# Binary cross-entropy on the raw logit, AdamW, linear decay without warm-up: what sentence-transformers does for
# labelled pairs when nothing else is asked for, with batches of 16.
CLASSIC = Recipe(
    name="classic",
    description="BinaryCrossEntropyLoss on the logit, AdamW, linear decay, no warm-up; the plain trainer",
    fast=False,
    loss="BinaryCrossEntropyLoss",
    warmup=0,
    anchor=0,
    folds=0,
    choice_above=0,
    epochs=3,
    learning_rate=5e-5,
    batch_size=16,
    seed=42,
)
RECIPES = {recipe.name: recipe for recipe in (DEFAULT, CLASSIC)}
DEFAULT_RECIPE = DEFAULT.name

# With more labels than this the held-out queries say enough by themselves, and chance counts for less: no folds.
MOST_CROSS_CHECKED = 1000

LIMITS: dict[str, tuple[float, float]] = {
    "epochs": (1, 100),
    "learning_rate": (1e-8, 1e-1),
    "batch_size": (1, 512),
    "seed": (0, 2**32 - 1),
    "patience": (0, 100),
}

# What is said of a value where its own name is no singular.
NAMES = {"epochs": "number of epochs"}

# What a recipe has that cannot be changed for a run.
INNER = ("fast", "warmup", "anchor", "folds", "choice_above")


@dataclass(frozen=True)
class TrainingConfig:
    """One training run as it was asked for.

    `base` is the version to start from, None for the active one; `loss` is the name of a loss of sentence-transformers,
    None for the recipe's own. With `patience` it stops after so many measurements on the dev set without a better one,
    and the best is kept; with 0 it goes on to its end. With `learning_curve` it also trains on growing parts of the
    labels (learning_curve.py). With `assume_not_relevant`, passages that nobody judged count as not relevant for
    queries of which only relevant ones are known (assumed.py). The rest is what the recipe has besides: it is kept with
    the run, so that what the run made can be made again when the recipe has become another; None stands for what the
    recipe has today.
    """

    recipe: str = DEFAULT_RECIPE
    base: str | None = None
    epochs: int = DEFAULT.epochs
    learning_rate: float = DEFAULT.learning_rate
    batch_size: int = DEFAULT.batch_size
    seed: int = DEFAULT.seed
    patience: int = 0
    learning_curve: bool = False
    assume_not_relevant: bool = False
    promote: Promote = "auto"
    loss: str | None = None
    fast: bool | None = None
    warmup: float | None = None
    anchor: float | None = None
    folds: int | None = None
    choice_above: int | None = None

    @classmethod
    def of(cls, recipe: str | None = None, promote: str | None = None, **overrides: Any) -> TrainingConfig:
        """A recipe with the values in `overrides` that are not None put in place of its own.

        Raises InvalidInput for an unknown recipe or loss, an unknown way to promote, or a value outside its limits.
        """
        recipe = recipe or DEFAULT_RECIPE
        if recipe not in RECIPES:
            raise InvalidInput(f"There is no recipe {recipe!r}. Choose one of: {', '.join(RECIPES)}.")
        promote = promote or "auto"
        if promote not in ("auto", "always", "never"):
            raise InvalidInput(f"`promote` is {promote!r}; it has to be auto, always or never.")
        values = {name: value for name, value in asdict(RECIPES[recipe]).items() if name in (*LIMITS, *INNER)}
        config = cls(recipe=recipe, promote=promote, **values)  # type: ignore[arg-type]
        config = replace(config, **{name: value for name, value in overrides.items() if value is not None})
        if config.loss == FOR_CLASSES:
            raise InvalidInput(WHY_NOT_FOR_CLASSES)
        if config.loss is not None and config.loss not in LOSSES:
            raise InvalidInput(f"There is no loss {config.loss!r}. Choose one of: {', '.join(LOSSES)}.")
        checked = {name: _checked(name, getattr(config, name), *limits) for name, limits in LIMITS.items()}
        return replace(config, **checked)

    @classmethod
    def stored(cls, config: Mapping[str, Any]) -> TrainingConfig:
        """The configuration of a run as the store has it, without what later versions of the app do not know."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in config.items() if name in known})


def recipe_of(config: Mapping[str, Any]) -> Recipe:
    """The recipe of a stored configuration, as it was when the run was asked for."""
    kept = {name: config[name] for name in INNER if config.get(name) is not None}
    if kept:
        # Of a run that kept its values before there was a choice.
        kept.setdefault("choice_above", 0)
    return replace(RECIPES[config["recipe"]], **kept)


def _checked(name: str, value: Any, low: float, high: float) -> Any:
    """The value, as a whole number where it has to be one. Raises InvalidInput."""
    words = NAMES.get(name, name.replace("_", " "))
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise InvalidInput(f"The {words} has to be a number from {low:g} to {high:g}.")
    if not low <= value <= high:
        raise InvalidInput(
            f"The {words} is {value if abs(value) < 1e15 else 'too large'}; it has to be from {low:g} to {high:g}."
        )
    if name == "learning_rate":
        return float(value)
    if value != int(value):
        raise InvalidInput(f"The {words} is {value}; it has to be a whole number.")
    return int(value)
