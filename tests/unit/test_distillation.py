"""The starter model's pipeline, end to end, on a dataset and a teacher small enough to make in the test."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from distillation.__main__ import Sizes, distil
from distillation.evaluate import ndcg, rerank_ndcg
from distillation.pairs import KINDS, PAIRS_PER_QUERY, sample_pairs
from distillation.student import build_student, fit_embeddings, target_layers
from distillation.teacher import TOKENS_PER_PAIR, encode, score
from distillation.train import TrainSettings, train, within_query

TOPICS = ["rivers", "bridges", "violins", "volcanoes", "glaciers", "comets", "orchards", "lanterns"]
FACTS = ["age", "height", "colour", "price", "origin", "weight"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Run torch on one thread: models this small only wait for each other on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pages of six passages; one query for each passage."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    folder.mkdir()
    passages, queries, judgments = [], [], []
    for topic in TOPICS:
        for fact in FACTS:
            name = f"{topic}-{fact}"
            text = f"The {fact} of {topic} is known. Most {topic} have a {fact} that is measured with care every year."
            passages.append({"id": name, "title": topic.title(), "text": text, "group": topic})
            queries.append({"id": f"q-{name}", "text": f"What is the usual {fact} of {topic}?", "answers": [fact]})
            judgments.append(f"q-{name}\t{name}\t1")
    for file, rows in (("corpus.jsonl", passages), ("queries.jsonl", queries)):
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "qrels.tsv").write_text("\n".join(judgments) + "\n", encoding="utf-8")
    listed = [f"q-{t}-{f}\t{u}-{f}\t{rank}\t1.0" for t in TOPICS for f in FACTS for rank, u in enumerate(TOPICS, 1)]
    (folder / "bm25_top100.tsv").write_text("\n".join(listed) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def teacher(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT cross-encoder of two layers, with a vocabulary of the dataset's words."""
    folder = tmp_path_factory.mktemp("teacher")
    rows = [json.loads(line) for name in ("corpus", "queries") for line in (dataset / f"{name}.jsonl").open()]
    words = sorted({word.strip(".?").lower() for row in rows for word in row["text"].split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *words]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(vocabulary)}, model_max_length=512)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        initializer_range=0.2, num_labels=1,
    )  # fmt: skip
    config.sentence_transformers = {"activation_fn": "torch.nn.modules.linear.Identity", "version": "5.0.0"}
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_every_query_has_its_kinds_of_pairs(dataset: Path) -> None:
    pairs = sample_pairs([dataset], 60, seed=1)
    assert len(pairs) == 60
    assert [pair.kind for pair in pairs] == list(KINDS) * (60 // PAIRS_PER_QUERY)
    for first in range(0, len(pairs), PAIRS_PER_QUERY):
        of_query = pairs[first : first + PAIRS_PER_QUERY]
        assert len({(pair.query_id, pair.query) for pair in of_query}) == 1
        _, topic, fact = of_query[0].query_id.split("/")[1].split("-")
        assert f"{fact} of {topic}" in of_query[0].passage
        assert topic in of_query[KINDS.index("group")].passage.lower()
    assert sample_pairs([dataset], 30, seed=1) == pairs[:30]
    assert sample_pairs([dataset], 60, seed=2) != pairs


def test_the_student_starts_as_the_teacher(teacher: Path, dataset: Path) -> None:
    source = BertForSequenceClassification.from_pretrained(teacher).eval()
    student = build_student(source, (1, 0), embedding_size=16)
    for layer, origin in zip(student.electra.encoder.layer, (1, 0), strict=True):
        for name, weight in source.bert.encoder.layer[origin].state_dict().items():
            assert torch.equal(layer.state_dict()[name], weight)
    assert torch.equal(student.classifier.dense.weight, source.bert.pooler.dense.weight)
    assert student.config.embedding_size == 16
    assert target_layers(12, 4) == (3, 6, 9, 12)
    tokenizer = BertTokenizer.from_pretrained(teacher)
    rows = encode(tokenizer, sample_pairs([dataset], 60, seed=1), max_tokens=64)
    before = fit_embeddings(student, source, rows, steps=1)
    assert fit_embeddings(student, source, rows, steps=60) < 0.8 * before


def test_the_margin_term_ignores_a_shift_of_a_whole_query() -> None:
    error = torch.tensor([5.0, 5.0, -1.0, 1.0, 3.0])
    assert within_query(error, torch.tensor([0, 0, 1, 1, 1])).tolist() == [0.0, 0.0, -2.0, 0.0, 2.0]


def test_the_loss_goes_down_and_scores_are_kept(teacher: Path, dataset: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pairs = sample_pairs([dataset], 120, seed=1)
    rows = encode(BertTokenizer.from_pretrained(teacher), pairs, max_tokens=64)
    outputs = score(str(teacher), rows, (1, 2), tmp_path, seed=1)
    assert outputs.states.shape == (120, 2, TOKENS_PER_PAIR, 32)
    assert (outputs.positions[:, 0] == 0).all()
    single = CrossEncoder(str(teacher), device="cpu").predict([(pair.query, pair.passage) for pair in pairs])
    assert np.abs(single - outputs.logits).max() < 0.1
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    again = score(str(teacher), rows, (1, 2), tmp_path, seed=1)
    assert np.array_equal(again.logits, outputs.logits)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == kept
    student = build_student(BertForSequenceClassification.from_pretrained(teacher), (0, 1), embedding_size=16)
    losses = train(student, pairs, rows, outputs, TrainSettings(steps=60, learning_rate=3e-3))
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_end_to_end(teacher: Path, dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "starter"
    out.mkdir()
    (out / "stale.txt").write_text("of the model before")
    sizes = Sizes(pairs=240, steps=20, embedding_steps=50, head_steps=50, embedding_size=16, init_layers=(0, 1))
    agreement = distil(str(teacher), [dataset], out, tmp_path / "work", sizes, seed=3)
    assert -1 <= agreement <= 1
    assert not (out / "stale.txt").exists()
    assert all(file.stat().st_size <= 9.5e6 for file in out.iterdir())
    assert not any(str(tmp_path) in file.read_text(encoding="utf-8") for file in out.glob("*.json"))
    model = CrossEncoder(str(out), device="cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert isinstance(model.activation_fn, torch.nn.Identity)
    assert model.max_seq_length == 512
    assert model.predict([("What is the age of comets?", "The age of comets is known.")]).shape == (1,)


def test_ndcg(dataset: Path) -> None:
    assert ndcg([3, 2, 1], [1, 2, 3, 0]) == 1.0
    assert ndcg([0, 1], [1, 0]) == pytest.approx(0.6309, abs=1e-4)
    assert ndcg([0], [0]) == 0.0
    perfect = rerank_ndcg(dataset, lambda pairs: [float(query.split()[-1][:-1] in text) for query, text in pairs])
    shuffled = rerank_ndcg(dataset, lambda pairs: [random.Random(1).random() for _ in pairs])
    assert perfect == 1.0
    assert rerank_ndcg(dataset) < 1.0
    assert shuffled < 1.0
