"""Engines beside each other, on models that are drawn by chance."""

from __future__ import annotations

import numpy as np

from reranker.engine import InputFormat, OpenVINOEngine, TorchEngine, convert
from reranker.tokens import EncodedPair
from tests.unit.test_first_token import classifier


def test_a_model_that_attends_to_windows_is_converted() -> None:
    windows = {"local_attention": 8, "global_attn_every_n_layers": 2}
    model = classifier("modernbert", classifier_pooling="mean", initializer_cutoff_factor=3.0, **windows)
    inputs = InputFormat(("input_ids", "attention_mask"), pad_id=1)
    # In one batch, so that the short ones have padding that is outside of every window.
    pairs = [
        EncodedPair("", "", [5 + number % 80 for number in range(length)], [0] * length, length, 0)
        for length in (38, 20, 3)
    ]

    converted = convert(model, inputs, pairs[:2])

    expected = TorchEngine(model, inputs, "float32").score(pairs)
    assert np.ptp(expected) > 0.01
    assert np.allclose(OpenVINOEngine(converted, inputs, "float32").score(pairs), expected, atol=1e-4)
    # To be converted has not changed the model.
    assert model.config._attn_implementation == "sdpa"
