"""Importing gradio without its type stubs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(script: str) -> str:
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout.strip()


def test_gradio_writes_no_stubs_and_works() -> None:
    script = """
import sys
from page.quick_import import skip_type_stubs
before = list(sys.meta_path)
skip_type_stubs()
import gradio as gr
import gradio.component_meta as meta
assert sys.meta_path == before, sys.meta_path
assert meta.create_or_modify_pyi(None, "", []) is None
with gr.Blocks() as page:
    box = gr.Textbox(label="works")
    box.submit(lambda text: text.upper(), box, box)
print(page.fns[0].fn("abc"), meta.__spec__.name, meta.__file__ is not None)
"""
    assert run(script) == "ABC gradio.component_meta True"


def test_it_does_nothing_once_gradio_is_there() -> None:
    script = """
import sys, gradio
from page.quick_import import skip_type_stubs
before = list(sys.meta_path)
skip_type_stubs()
print(sys.meta_path == before)
"""
    assert run(script) == "True"


def test_gradio_still_has_what_is_taken_out() -> None:
    # If it goes, so can the module that takes it out.
    assert run("import gradio.component_meta as meta; print(callable(meta.create_or_modify_pyi))") == "True"
