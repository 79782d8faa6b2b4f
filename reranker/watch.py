"""What happens beside the steps of a training: reports, evaluations on the dev set, checkpoints, and the end of it.

None of it touches what is learned. Evaluations and checkpoints draw no random numbers, so a run that was broken off and
goes on from a checkpoint ends with the weights of one that was left alone, wherever the checkpoints were.

The weights that were best on the dev set are kept beside the run. They become the model where somebody cancels, and
where the run was asked to stop once `patience` evaluations in a row have brought nothing better.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_model, save_model
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reranker.dataset import JudgedQuery, part_by_query, texts_of
from reranker.evaluation import ndcg
from reranker.reporter import TRAINING
from reranker.run_files import RunFiles, read_json, sync, write_json

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from reranker.reporter import PhaseReporter, Reporter

# Saving may take one part in so many of the time, however large the model is; unless every step is to be saved.
SAVING_SHARE = 20
BATCH = 32


class Watch(TrainerCallback):
    """Reports on a training and steers it. One of it goes with one call of `train`."""

    def __init__(
        self,
        files: RunFiles,
        config: dict[str, Any],
        dev: list[JudgedQuery],
        evaluations: int,
        reporter: Reporter | PhaseReporter,
        work: float,
    ) -> None:
        """It is measured on `dev` about so many times. `work` is how much of the reporter's total the training is."""
        self.files = files
        self.dev = dev
        self.evaluations = evaluations
        self.reporter = reporter
        self.work = work
        self.patience = config.get("patience", 0)
        self.stop_after = config.get("stop_after")
        self.seconds_between_checkpoints = config.get("seconds_between_checkpoints", math.inf)
        self.stopped: str | None = None
        self.step = self.total_steps = 0
        self._evaluate_every = 0
        self._next_save = math.inf
        self._save_began = 0.0

    # What the trainer calls

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Say where the training begins, and work out when to evaluate."""
        self.step, self.total_steps = state.global_step, state.max_steps
        self._evaluate_every = math.ceil(state.max_steps / self.evaluations) if self.evaluations else 0
        self._next_save = time.monotonic() + self.seconds_between_checkpoints
        self.reporter.skip(self.work_done)
        self.reporter.start_clock()
        self.reporter.progress(TRAINING, self.work_done, step=state.global_step, total_steps=state.max_steps)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Report a step with its loss."""
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        self.reporter.progress(
            TRAINING,
            self.work * state.global_step / state.max_steps,
            step=state.global_step,
            total_steps=state.max_steps,
            loss=logs["loss"],
            epoch=state.epoch,
            learning_rate=logs["learning_rate"],
        )

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: CrossEncoder | None = None,
        **_: Any,
    ) -> None:
        """Evaluate and save where it is time to, and stop where there is a reason."""
        self.step = state.global_step
        stopped, save = None, False
        if state.is_world_process_zero and model is not None:
            if self._evaluate_every and (self.step % self._evaluate_every == 0 or self.step == state.max_steps):
                self._evaluate(model, state)
            stopped, save = self._why_stop(), time.monotonic() >= self._next_save
        if args.world_size > 1:
            # All processes stop and save at the same step, or they would wait for each other for good.
            from accelerate.utils import broadcast_object_list

            stopped, save = broadcast_object_list([stopped, save])
        self.stopped = stopped
        control.should_training_stop |= stopped is not None
        control.should_save = save and not control.should_training_stop
        self._save_began = time.monotonic()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Mark the checkpoint that was written as whole."""
        if args.world_size > 1:
            torch.distributed.barrier()  # each process has a part in it
        if state.is_world_process_zero:
            self.files.mark_checkpoint(state.global_step)
            now = time.monotonic()
            pause = max(self.seconds_between_checkpoints, SAVING_SHARE * (now - self._save_began))
            self._next_save = now + (pause if self.seconds_between_checkpoints else 0)

    # What the end of the training asks

    def load_best(self, model: CrossEncoder) -> int:
        """Give `model` the weights that are kept, the last ones or the best ones; returns the step they are of."""
        best = self._history()["best"]
        wants_best = (self.stopped and self.stopped != "stop_after") or self.patience
        if best and wants_best and best["step"] != self.step:
            load_model(model, self.files.best_weights(best["step"]))
            return best["step"]
        return self.step

    def summary(self, kept: int) -> dict[str, Any]:
        """How the training ended: why it stopped, the step whose weights were kept, and what they were measured as."""
        best = self._history()["best"]
        return {
            "stopped": self.stopped,
            "step": kept,
            "last_step": self.step,
            "total_steps": self.total_steps,
            "scores": best["scores"] if best and best["step"] == kept else None,
        }

    # Within

    @property
    def work_done(self) -> float:
        """How much of the work is done by now."""
        return self.work * self.step / max(self.total_steps, 1)

    def _why_stop(self) -> str | None:
        if self.files.stop.is_file():
            return "cancelled"
        if self.stop_after and self.step >= self.stop_after:
            return "stop_after"
        if self.patience:
            scores = self._history()["scores"]
            best = max(scores, key=lambda step: (scores[step], -step), default=self.step)
            if sum(best < step <= self.step for step in scores) >= self.patience:
                return "early"
        return None

    def _history(self) -> dict[str, Any]:
        """The evaluations up to this step: each one's nDCG@10, and the best one. A run that goes on may repeat some."""
        history = read_json(self.files.history) if self.files.history.is_file() else {"scores": {}, "best": None}
        scores = {int(step): score for step, score in history["scores"].items() if int(step) <= self.step}
        return {"scores": scores, "best": history["best"]}

    def _evaluate(self, model: CrossEncoder, state: TrainerState) -> None:
        score = self._measure(model)
        self.reporter.progress(TRAINING, self.work_done, step=self.step, total_steps=state.max_steps, dev=score)

    def _measure(self, model: CrossEncoder) -> float:
        """The model's nDCG@10 on the dev set; its weights are kept where none before had a better one."""
        scores = score_queries(model, self.dev)
        labels = (judged.labels for judged in self.dev)
        score = statistics.fmean(ndcg(*query) for query in zip(labels, scores, strict=True))
        history = self._history()
        earlier = [known for step, known in history["scores"].items() if step < self.step]
        history["scores"][self.step] = score
        outdated = history["best"]
        if not earlier or score > max(earlier):
            # First the weights, then the word that they are there.
            weights = self.files.best_weights(self.step)
            unfinished = weights.with_suffix(".part")
            save_model(model, str(unfinished))
            sync([unfinished])
            unfinished.rename(weights)
            history["best"] = {"step": self.step, "scores": scores}
        write_json(self.files.history, history)
        if outdated and outdated["step"] != history["best"]["step"]:
            self.files.best_weights(outdated["step"]).unlink(missing_ok=True)
        return score


def score_queries(model: CrossEncoder, queries: list[JudgedQuery]) -> list[list[float]]:
    """The logits of each query's passages, by a model in the middle of its training, which stays as it was."""
    training = model.training
    scores = model.predict(
        texts_of(queries), batch_size=BATCH, activation_fn=torch.nn.Identity(), show_progress_bar=False
    )
    model.train(training)
    return part_by_query(queries, scores.tolist())
