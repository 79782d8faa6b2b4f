"""Prints what the benchmarks run on: python -m benchmarks.machine"""

import platform
from importlib.metadata import version

import psutil
import torch

from reranker.loading import cpu_precision

LIBRARIES = ("torch", "transformers", "sentence-transformers", "openvino", "gradio")


def main() -> None:
    """Print the processor, the memory and the versions of what counts."""
    has = torch.cpu.get_capabilities()
    vectors = next((name for name in ("avx512_bf16", "avx512_f", "avx2") if has.get(name)), "no vector unit known")
    memory = psutil.virtual_memory().total / 2**30
    print(
        f"{has.get('cpu_name') or platform.processor()}, {psutil.cpu_count(logical=False)} cores, {vectors}, "
        f"{memory:.0f} GiB; fastest precision {cpu_precision()}; Python {platform.python_version()}, "
        + ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    )


if __name__ == "__main__":
    main()
