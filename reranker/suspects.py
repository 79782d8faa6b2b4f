"""Which labels to look at again: those that contradict most what the other labels teach. Pure functions.

A label is held against the probability that a model gives it which has not seen it, nor any other of its query: a
logistic regression on a few features, fitted out of fold, five folds by query. What sorts first is the label with the
least probability ("self-confidence" in Northcutt, Jiang & Chuang, 2021, "Confident learning"). The features are the
score of a model that was not trained on these labels, how it stands among the scores of the query, and how many words
query and passage share; so this costs one scoring of all pairs and no training beside the run's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reranker.dataset import LabelledPair, Suspect
from texts import words

FOLDS = 5
# With fewer labels than this nothing can be said of any of them.
MIN_PAIRS = 40
# So many labels are listed: a tenth of all, within these limits.
LISTED_SHARE = 0.1
MIN_LISTED, MAX_LISTED = 10, 300


def find_suspects(pairs: Sequence[LabelledPair], logits: Sequence[float]) -> list[Suspect]:
    """The most doubtful labels, the most doubtful one first; none where there are too few labels to say.

    `logits` are the scores of the pairs by a model that was not trained on them. Only labels are listed that are less
    likely than the other one.
    """
    if len(pairs) < MIN_PAIRS or len({pair.query_id for pair in pairs}) < FOLDS:
        return []
    labels = np.array([pair.label for pair in pairs])
    probabilities = _out_of_fold(_features(pairs, np.asarray(logits, dtype=float)), labels, _groups(pairs))
    confidence = np.where(labels == 1, probabilities, 1 - probabilities)
    listed = int(np.clip(LISTED_SHARE * len(pairs), MIN_LISTED, MAX_LISTED))
    return [
        Suspect(pairs[index].query, pairs[index].passage, pairs[index].label, float(probabilities[index]))
        for index in np.argsort(confidence, kind="stable")[:listed]
        if confidence[index] < 0.5
    ]


def _groups(pairs: Sequence[LabelledPair]) -> np.ndarray:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(pair.query_id, len(numbers)) for pair in pairs])


def _features(pairs: Sequence[LabelledPair], logits: np.ndarray) -> np.ndarray:
    """(pairs, 7): the logit, as it stands to the mean and to the best of its query, the share of the query's passages
    above it, the cosine of the two texts, the share of the query's words that the passage has, the passage's length.
    """
    group = _groups(pairs)
    mean, best, above = np.empty_like(logits), np.empty_like(logits), np.empty_like(logits)
    for number in range(group.max() + 1):
        members = np.flatnonzero(group == number)
        of_query = logits[members]
        mean[members], best[members] = of_query.mean(), of_query.max()
        above[members] = (of_query[None, :] > of_query[:, None]).mean(axis=1)
    # Words weigh the more the rarer they are (tf-idf).
    vectorizer = TfidfVectorizer(tokenizer=words, token_pattern=None, lowercase=False, sublinear_tf=True)
    texts = [pair.passage for pair in pairs] + [pair.query for pair in pairs]
    rows = vectorizer.fit_transform(texts)
    passages, queries = rows[: len(pairs)], rows[len(pairs) :]
    cosine = np.asarray(queries.multiply(passages).sum(axis=1)).ravel()
    shared = np.asarray(queries.multiply(passages > 0).sum(axis=1)).ravel()
    covered = shared / np.maximum(np.asarray(queries.sum(axis=1)).ravel(), 1e-9)
    length = np.log1p([len(words(pair.passage)) for pair in pairs])
    return np.column_stack([logits, logits - mean, best - logits, above, cosine, covered, length])


def _out_of_fold(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The probability of label 1 for each row, by a fit to the rows of other queries."""
    probabilities = labels.astype(float)  # where a fold has one label only, nothing is doubted
    for others, fold in GroupKFold(FOLDS).split(features, labels, groups):
        if len(set(labels[others])) == 2:
            model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features[others], labels[others])
            probabilities[fold] = model.predict_proba(features[fold])[:, 1]
    return probabilities
