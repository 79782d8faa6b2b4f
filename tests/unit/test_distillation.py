"""The starter model's pipeline, end to end, on a dataset and a teacher small enough to make in the test."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from distillation.__main__ import Sizes, main
from distillation.evaluate import Reranker, compare, cross_encoder, mean_ndcg, ndcg, scores_of
from distillation.judged import read_judged
from distillation.pairs import KINDS, PAIRS_PER_QUERY, Chunk, PairSampler, made_query, sample_pairs
from distillation.student import build_student, fit_embeddings, neuron_loudness
from distillation.teacher import encode, score
from distillation.train import TrainSettings, train, within_query

TOPICS = ["rivers", "bridges", "violins", "volcanoes", "glaciers", "comets", "orchards", "lanterns"]
FACTS = ["age", "height", "colour", "price", "origin", "weight", "length", "smell", "history"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Run torch on one thread: models this small only wait for each other on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pages of nine passages; one query for each passage."""
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
    pairs = sample_pairs([dataset], 160, seed=1)
    assert len(pairs) == 160
    assert [pair.kind for pair in pairs] == list(KINDS) * (160 // PAIRS_PER_QUERY)
    made = 0
    for first in range(0, len(pairs), PAIRS_PER_QUERY):
        of_query = pairs[first : first + PAIRS_PER_QUERY]
        assert len({(pair.query_id, pair.query) for pair in of_query}) == 1
        if of_query[0].query_id.startswith("made/"):
            made += 1
            continue
        _, topic, fact = of_query[0].query_id.split("/")[1].split("-")
        assert f"{fact} of {topic}" in of_query[0].passage
        assert topic in of_query[KINDS.index("group")].passage.lower()
    assert 0 < made < 10
    assert sample_pairs([dataset], 80, seed=1) == pairs[:80]
    assert sample_pairs([dataset], 160, seed=2) != pairs


def test_a_made_query_is_a_sentence_taken_out_or_rare_words() -> None:
    sentences = ["Violins are old string instruments.", "They have four strings and a bow of horsehair."]
    chunk = Chunk(" ".join(sentences), "Violins", "p", "p")
    counts = Counter({word: 100 for word in ("violins", "strings")})
    found = {made_query(chunk, counts, random.Random(seed)) for seed in range(50)}
    taken = {(sentences[0].rstrip("."), sentences[1]), (sentences[1].rstrip("."), sentences[0])}
    assert taken < found
    for query, passage in found - taken:
        assert passage == chunk.text
        assert 2 <= len(query.split()) <= 5
        assert not {"and", "are", "a", "of"} & set(query.split())
    assert made_query(Chunk("Too short.", "", "p", "p"), counts, random.Random(1)) is None


def test_bm25_leaves_out_what_has_no_word_of_the_query(dataset: Path) -> None:
    sampler = PairSampler([dataset], seed=1)
    found = sampler.bm25.search("comets", 100)
    assert {sampler.chunks[number].group for number in found} == {"tiny/comets"}
    assert sampler.bm25.search("comets", 2) == found[:2]
    assert sampler.bm25.search("zeppelins", 5) == sampler.bm25.search("the", 5) == sampler.bm25.search("", 5) == []


def test_the_student_starts_as_the_teacher(teacher: Path, dataset: Path) -> None:
    source = BertForSequenceClassification.from_pretrained(teacher).eval()
    rows = encode(BertTokenizer.from_pretrained(teacher), sample_pairs([dataset], 80, seed=1), max_tokens=64)
    student = build_student(source, (1, 0), embedding_size=16, intermediate_size=64, rows=rows)
    for layer, origin in zip(student.electra.encoder.layer, (1, 0), strict=True):
        for name, weight in source.bert.encoder.layer[origin].state_dict().items():
            assert torch.equal(layer.state_dict()[name], weight)
    assert torch.equal(student.classifier.dense.weight, source.bert.pooler.dense.weight)
    assert student.config.embedding_size == 16
    before = fit_embeddings(student, source, rows, steps=1)
    assert fit_embeddings(student, source, rows, steps=60) < 0.8 * before


def test_the_quietest_neurons_are_left_out(teacher: Path, dataset: Path) -> None:
    source = BertForSequenceClassification.from_pretrained(teacher).eval()
    rows = encode(BertTokenizer.from_pretrained(teacher), sample_pairs([dataset], 80, seed=1), max_tokens=64)
    with torch.no_grad():
        source.bert.encoder.layer[0].output.dense.weight[:, 7] = 0
    loudness = neuron_loudness(source, rows)
    assert loudness.shape == (2, 64)
    assert loudness[0, 7] == 0
    student = build_student(source, (0, 1), embedding_size=16, intermediate_size=63, rows=rows)
    given, kept = source.bert.encoder.layer[0], student.electra.encoder.layer[0]
    others = [number for number in range(64) if number != 7]
    assert torch.equal(kept.intermediate.dense.weight, given.intermediate.dense.weight[others])
    assert torch.equal(kept.output.dense.weight, given.output.dense.weight[:, others])


def test_the_margin_term_ignores_a_shift_of_a_whole_query() -> None:
    error = torch.tensor([5.0, 5.0, -1.0, 1.0, 3.0])
    assert within_query(error, torch.tensor([0, 0, 1, 1, 1])).tolist() == [0.0, 0.0, -2.0, 0.0, 2.0]


def test_the_loss_goes_down_and_scores_are_kept(teacher: Path, dataset: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pairs = sample_pairs([dataset], 160, seed=1)
    rows = encode(BertTokenizer.from_pretrained(teacher), pairs, max_tokens=64)
    logits = score(str(teacher), rows, tmp_path)
    single = CrossEncoder(str(teacher), device="cpu").predict([(pair.query, pair.passage) for pair in pairs])
    assert np.abs(single - logits).max() < 0.1
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert np.array_equal(score(str(teacher), rows, tmp_path), logits)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == kept
    student = build_student(BertForSequenceClassification.from_pretrained(teacher), (0, 1), 16, 64, rows)
    losses = train(student, pairs, rows, logits, TrainSettings(steps=60, learning_rate=3e-3))
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


@pytest.mark.slow
def test_end_to_end(teacher: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "starter"
    out.mkdir()
    (out / "stale.txt").write_text("of the model before")
    small = Sizes(
        pairs=240,
        steps=20,
        embedding_steps=50,
        embedding_size=16,
        intermediate_size=48,
        init_layers=(0, 1),
        judged_pairs=75,
    )
    monkeypatch.setattr("distillation.__main__.Sizes", lambda: small)
    arguments = ["--teacher", str(teacher), "--data", str(dataset.parent), "--out", str(out), "--seed", "3"]
    main([*arguments, "--train", dataset.name, "--measure", dataset.name, "--pairs", "480"])
    assert not (out / "stale.txt").exists()
    assert all(file.stat().st_size <= 9.5e6 for file in out.iterdir())
    assert not any(str(tmp_path) in file.read_text(encoding="utf-8") for file in out.glob("*.json"))
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "teacher's is nan" not in card, "some queries are held out"
    assert "--pairs 480 --steps 20 --seed 3" in card
    assert "| tiny | 9 |" in card
    assert str(tmp_path) not in card
    model = CrossEncoder(str(out), device="cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert isinstance(model.activation_fn, torch.nn.Identity)
    assert model.max_seq_length == 512
    assert model.predict([("What is the age of comets?", "The age of comets is known.")]).shape == (1,)


def test_ndcg() -> None:
    assert ndcg([3, 2, 1], [1, 2, 3, 0]) == 1.0
    assert ndcg([0, 1], [1, 0]) == pytest.approx(0.6309, abs=1e-4)
    assert ndcg([0], [0]) == 0.0


def test_rerankers_are_compared_on_the_same_lists(teacher: Path, dataset: Path, tmp_path: Path) -> None:
    asked = []

    def perfect(pairs: list[tuple[str, str]]) -> np.ndarray:
        asked.extend(pairs)
        return np.array([float(query.split()[-1][:-1] in text) for query, text in pairs])

    rerankers = [Reranker("perfect", "perfect", perfect), cross_encoder("random", str(teacher), torch.float32)]
    report = compare(rerankers, [dataset], 80, tmp_path)
    assert report.queries == {"tiny": 10}
    assert report.ndcg["tiny"]["perfect"] == 1.0
    assert report.ndcg["tiny"]["BM25"] < 1.0
    assert report.gain_kept("perfect", "perfect") == 1.0
    assert report.gain_kept("BM25", "perfect") == 0.0
    assert set(report.speed) == {"BM25", "perfect", "random"}
    assert min(report.speed.values()) > 0
    assert "| tiny | 10 |" in report.markdown()
    # A reranker's scores are kept: the same lists are not scored again.
    asked.clear()
    queries = read_judged(dataset, 80)
    assert mean_ndcg(queries, scores_of(rerankers[0], queries, tmp_path)) == 1.0
    assert asked == []


def test_where_there_is_no_first_stage_bm25_makes_one(dataset: Path, tmp_path: Path) -> None:
    published = {query.text: query.passages for query in read_judged(dataset)}
    folder = tmp_path / "wikiqa_dev"
    shutil.copytree(dataset, folder)
    (folder / "bm25_top100.tsv").unlink()
    for query in read_judged(folder):
        # Within the group of the relevant passage, which has one passage for each fact, best first.
        assert len(query.passages) == len(FACTS) != len(published[query.text])
        assert query.grades[0] == 1
    shutil.move(folder, tmp_path / "other")
    for query in read_judged(tmp_path / "other"):
        assert len(query.passages) > len(FACTS)
        assert query.grades[0] == 1
