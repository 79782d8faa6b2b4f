"""Lets gradio be imported in about half the time.

At every import gradio reads the source of each of its components again and writes type stubs for editors beside it,
which takes as long as all the rest. Nobody who uses the app needs them. Call `skip_type_stubs` before the import.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MODULE = "gradio.component_meta"
FUNCTION = "create_or_modify_pyi"


class _WithoutStubs(MetaPathFinder, Loader):
    """Finds the one module that writes the stubs, and takes the function that does out of it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            self.loader = spec.loader
            spec.loader = self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        if hasattr(module, FUNCTION):
            setattr(module, FUNCTION, lambda *_: None)


def skip_type_stubs() -> None:
    """Keep gradio, where it is not imported yet, from writing type stubs while it is."""
    if MODULE not in sys.modules:
        sys.meta_path.insert(0, _WithoutStubs())
