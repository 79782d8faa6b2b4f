"""Which labels to look at again: those that contradict most what the other labels teach. Pure functions.

A label is held against the probability that its passage is relevant, going by all labels but itself. What sorts first
is the label with the least probability ("self-confidence" in Northcutt, Jiang & Chuang, 2021, "Confident learning").
The probability comes in two steps, each a logistic regression that is fitted out of fold, five folds by query:

1. from the score of a model that was not trained on these labels, how it stands among the scores of the query, and how
   many words query and passage share. What is left over, label less probability, is the pair's residual.
2. from the same and from what the residuals of the query's other passages, and those of queries in like words, say of
   this one. That is the mean of a Gaussian process in which two pairs go together the more, the more words both their
   passages and their queries have in common, with the pair itself left out (Rasmussen & Williams, 2006, "Gaussian
   Processes for Machine Learning", equation 5.12; the product of a kernel for each side is that of Ben-Hur & Noble,
   2005, "Kernel methods for predicting protein-protein interactions").

Both steps are done three times: the later ones weigh each label by how likely it is to be right, going by the one
before, so that wrong labels speak less for one another. All of it costs one scoring of the pairs and no training beside
the run's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reranker.dataset import LabelledPair, Suspect
from texts import words, words_or_all

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FOLDS = 5
# With fewer labels than this nothing can be said of any of them.
MIN_PAIRS = 40
# So many labels are listed: a tenth of all, within these limits.
LISTED_SHARE = 0.1
MIN_LISTED, MAX_LISTED = 10, 500
# Labels are weighed as if this share of them were wrong, and none counts less than the least.
WRONG_SHARE, LEAST_WEIGHT, ROUNDS = 0.1, 0.05, 3

# How far the residuals of a query's passages go together whatever they say, and how far for having the same words; both
# as multiples of the variance that a label has for itself.
TOGETHER, ALIKE = 0.3, 3.0
# Queries in like words: so many at most, and from this cosine on.
LIKE_QUERIES, LIKE_QUERY = 5, 0.3
# Pairs that are taken together at a time: of one query, and with those of the queries like it.
MOST_OF_QUERY, MOST_TOGETHER = 300, 600
# Queries that are compared with all others at a time, so that the table stays small.
ROWS = 100


def find_suspects(pairs: Sequence[LabelledPair], logits: Sequence[float]) -> list[Suspect]:
    """The most doubtful labels, the most doubtful one first; none where there are too few labels to say.

    `logits` are the scores of the pairs by a model that was not trained on them. Only labels are listed that are less
    likely than the other one.
    """
    if len(pairs) < MIN_PAIRS or len({pair.query_id for pair in pairs}) < FOLDS:
        return []
    labels = np.array([pair.label for pair in pairs])
    probabilities = _probabilities(pairs, np.asarray(logits, dtype=float), labels)
    confidence = np.where(labels == 1, probabilities, 1 - probabilities)
    listed = int(np.clip(LISTED_SHARE * len(pairs), MIN_LISTED, MAX_LISTED))
    return [
        Suspect(
            pairs[index].query,
            pairs[index].passage,
            pairs[index].label,
            float(probabilities[index]),
            pairs[index].assumed,
        )
        for index in np.argsort(confidence, kind="stable")[:listed]
        if confidence[index] < 0.5
    ]


def _probabilities(pairs: Sequence[LabelledPair], logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(pairs,): the probability that the passage is relevant, going by the labels of all other pairs."""
    numbers: dict[str, int] = {}
    groups = np.array([numbers.setdefault(pair.query_id, len(numbers)) for pair in pairs])
    # The places of each query's pairs.
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
    # Words weigh the more the rarer they are (tf-idf).
    vectorizer = TfidfVectorizer(tokenizer=words_or_all, token_pattern=None, lowercase=False, sublinear_tf=True)
    rows = vectorizer.fit_transform([pair.passage for pair in pairs] + [pair.query for pair in pairs])
    passages, queries = rows[: len(pairs)], rows[len(pairs) :]
    features = _features(logits, passages, queries, [len(words(pair.passage)) for pair in pairs], members)
    weights = np.ones(len(pairs))
    for _ in range(ROUNDS):
        first = _out_of_fold(features, labels, weights, groups)
        told = _told_by_others(labels - first, weights, passages, queries, members)
        probabilities = _out_of_fold(np.column_stack([features, told]), labels, weights, groups)
        weights = _likely_right(np.where(labels == 1, probabilities, 1 - probabilities))
    return probabilities


def _likely_right(confidence: np.ndarray) -> np.ndarray:
    """(pairs,): how likely each label is to be right, by Bayes' rule: `confidence` is that of it without itself."""
    right, wrong = (1 - WRONG_SHARE) * confidence, WRONG_SHARE * (1 - confidence)
    return np.maximum(right / (right + wrong), LEAST_WEIGHT)


def _features(
    logits: np.ndarray,
    passages: csr_matrix,
    queries: csr_matrix,
    lengths: Sequence[int],
    members: Sequence[np.ndarray],
) -> np.ndarray:
    """(pairs, 7): the logit, as it stands to the mean and to the best of its query, the share of the query's passages
    above it, the cosine of the two texts, the share of the query's words that the passage has, the passage's length.
    """
    mean, best, above = np.empty_like(logits), np.empty_like(logits), np.empty_like(logits)
    for places in members:
        of_query = logits[places]
        mean[places], best[places] = of_query.mean(), of_query.max()
        above[places] = 1 - np.searchsorted(np.sort(of_query), of_query, side="right") / len(places)
    cosine = np.asarray(queries.multiply(passages).sum(axis=1)).ravel()
    shared = np.asarray(queries.multiply(passages > 0).sum(axis=1)).ravel()
    covered = shared / np.maximum(np.asarray(queries.sum(axis=1)).ravel(), 1e-9)
    return np.column_stack([logits, logits - mean, best - logits, above, cosine, covered, np.log1p(lengths)])


def _told_by_others(
    residuals: np.ndarray,
    weights: np.ndarray,
    passages: csr_matrix,
    queries: csr_matrix,
    members: Sequence[np.ndarray],
) -> np.ndarray:
    """(pairs,): the residual that each pair would have going by those of the other pairs of its query and of queries
    in like words."""
    told = np.empty_like(residuals)
    for own, like in zip(members, _like_queries(queries[[places[0] for places in members]]), strict=True):
        others = np.concatenate([np.empty(0, dtype=int), *(members[number] for number in like)])
        for start in range(0, len(own), MOST_OF_QUERY):
            part = own[start : start + MOST_OF_QUERY]
            places = np.concatenate([part, others])[:MOST_TOGETHER]
            kernel = _cosines(queries[places]) ** 2 * (TOGETHER + ALIKE * _cosines(passages[places]))
            inverse = np.linalg.inv(kernel + np.diag(1 / weights[places]))[: len(part)]
            told[part] = residuals[part] - inverse @ residuals[places] / np.diag(inverse)
    return told


def _cosines(rows: csr_matrix) -> np.ndarray:
    return (rows @ rows.T).toarray()


def _like_queries(queries: csr_matrix) -> Iterator[np.ndarray]:
    """For each query the numbers of the others that are most like it, the most like one first."""
    for start in range(0, queries.shape[0], ROWS):
        for number, cosines in enumerate((queries[start : start + ROWS] @ queries.T).toarray(), start):
            cosines[number] = 0
            like = np.flatnonzero(cosines >= LIKE_QUERY)
            yield like[np.argsort(-cosines[like], kind="stable")[:LIKE_QUERIES]]


def _out_of_fold(features: np.ndarray, labels: np.ndarray, weights: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The probability of label 1 for each row, by a fit to the rows of other queries."""
    probabilities = labels.astype(float)  # where a fold has one label only, nothing is doubted
    for others, fold in GroupKFold(FOLDS).split(features, labels, groups):
        if len(set(labels[others])) == 2:
            model = make_pipeline(StandardScaler(), LogisticRegression())
            model.fit(features[others], labels[others], logisticregression__sample_weight=weights[others])
            probabilities[fold] = model.predict_proba(features[fold])[:, 1]
    return probabilities
