"""A cross-encoder small enough to make in a test, and as real as any: it loads, scores, trains and saves."""

import string
from pathlib import Path

COMMON_WORDS = """
    the a of and to in is it for on what how why who river bridge model passage query answer rain sun city music
    train water stone light paper garden winter summer north south red green blue old new long short best first
"""
SIGNS = string.ascii_lowercase + string.digits + string.punctuation + "äöüéèßñ"


def save_tiny_model(path: Path, extra_tokens: int = 0, seed: int = 0) -> Path:
    """Save a BERT cross-encoder with one layer and one output into `path`, and return `path`.

    Its vocabulary holds letters, so any text tokenizes. Each of the `extra_tokens` adds 128 bytes to the weights, where
    a test needs them to have some size. Other seeds give other weights.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    path.mkdir(parents=True, exist_ok=True)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *SIGNS, *(f"##{sign}" for sign in SIGNS if sign.isalnum())]
    tokens += [*COMMON_WORDS.split(), *(f"[unused{number}]" for number in range(extra_tokens))]
    vocabulary = path / "vocab.txt"
    vocabulary.write_text("\n".join(dict.fromkeys(tokens)) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab=str(vocabulary), model_max_length=128, do_lower_case=True)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        num_labels=1,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    cross_encoder = CrossEncoder(
        str(path), device="cpu", max_length=128, activation_fn=torch.nn.Identity(), local_files_only=True
    )
    cross_encoder.save_pretrained(str(path))
    return path
