"""How the process that trains is started: the command line, and what a run as a Hugging Face Job asks for.

Both sides of such a job know this module, so it needs nothing but the standard library.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

HUB_JOB = "hf_job"
# Of an event, what it is about where what follows a job, and not the job, wrote it.
JOB_EVENT = "job"


@dataclass(frozen=True)
class HubJob:
    """What a run asks of Hugging Face Jobs: the hardware, the Docker image, the longest it may take, and the bucket
    (owner/name) that its files travel through; the owner's account is the one that pays. None is the token's own.

    Every `seconds_between_looks` either side looks what the other has written. A job that was asked to stop has
    `seconds_to_stop` to say what it has; one that has ended, `seconds_to_settle` until its last files are seen.
    """

    flavor: str
    image: str
    timeout: str
    bucket: str | None = None
    seconds_between_looks: float = 5
    seconds_to_stop: float = 300
    seconds_to_settle: float = 60
    # They travel over the network, so they are rarer than on this machine.
    seconds_between_checkpoints: float = 120


@dataclass(frozen=True)
class Launch:
    """How the child is started: by itself, as `processes` that accelerate starts and that train together, or as a
    Hugging Face Job, where so many processes train.
    """

    launcher: str = "python"
    processes: int = 1
    job: HubJob | None = None

    @property
    def on_hub(self) -> bool:
        return self.launcher == HUB_JOB

    def environment(self) -> dict[str, str]:
        """The environment variables that the process is started with."""
        # A thread that waits for the others leaves its core to the app instead of turning on the spot.
        own = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "TOKENIZERS_PARALLELISM": "false"}
        if self.on_hub:
            return own
        if self.processes > 1:
            # They share the processors, or they would stand in each other's way.
            own["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.processes))
        # Everything the child needs is on this disk; it must not look for it elsewhere.
        return own | {"HF_HUB_OFFLINE": "1"}

    def command(self, directory: Path) -> list[str]:
        """The command line that trains in this directory, or that has it trained in by a job."""
        if self.on_hub:
            return [sys.executable, "-m", "reranker.hub_job", str(directory.absolute())]
        module = ["-m", "reranker.train", str(directory.absolute())]
        if self.launcher == "python":
            return [sys.executable, *module]
        # On processors, too, several processes are what accelerate calls multi_gpu.
        several = ["--multi_gpu"] if self.processes > 1 else []
        options = ["--num_processes", str(self.processes), "--num_machines", "1", "--main_process_port", "0"]
        precision = ["--mixed_precision", "no", "--dynamo_backend", "no"]
        return [sys.executable, "-m", "accelerate.commands.launch", *several, *options, *precision, *module]
