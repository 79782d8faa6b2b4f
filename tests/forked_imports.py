"""What a child that trains imports, with the environment that it has meanwhile; see forked.py."""

import gc
import os
from threading import RLock

from tqdm import tqdm

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import reranker.cross_check  # noqa: E402
import reranker.learning_curve  # noqa: E402
import reranker.measuring  # noqa: E402
import reranker.trainer  # noqa: E402
import reranker.training  # noqa: E402
import reranker.watch  # noqa: E402, F401

# Else each makes one that other processes could share, which is said to be left behind.
tqdm.set_lock(RLock())

# Each training collects garbage first, and would look for it in all that was imported.
gc.freeze()
