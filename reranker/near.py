"""Which passages are nearly the same, and which queries therefore belong together. Pure functions.

A query that is measured on must not have been learned from in another guise. Two passages count as nearly the same when
their words agree but for case and punctuation, or when their sets of three-word runs do for the most part: the
resemblance of Broder (1997, "On the resemblance and containment of documents"), here computed and not estimated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from texts import words_or_all

if TYPE_CHECKING:
    from scipy.cluster.hierarchy import DisjointSet
    from scipy.sparse import csr_array

# Words that follow each other, taken as one; and the share of such runs that two passages have to have in common: more
# of them where a number differs, which is often all that two facts differ in. One changed word changes three runs, so
# it takes 15 words to make that a small change, and 55 for a number.
RUN = 3
RESEMBLANCE = 0.7
RESEMBLANCE_WITH_OTHER_NUMBERS = 0.9
# Passages that are compared with all others at a time: as many as keep the table of shared runs small.
ROWS = 1_000
# Passages that have only runs in common which more of them than this have are not compared: that is boilerplate.
COMMON = 200
# How much of all that is relevant to either of two queries has to be relevant to both, for them to stay together where
# sharing one passage would join most queries.
OVERLAP = 0.5


def clusters(texts: Iterable[str]) -> dict[str, int]:
    """The number of the cluster that each text belongs to: nearly the same texts, in one step or over others, have one.

    The numbers are those of first appearance, so they depend on the order of the texts.
    """
    return dict(_clusters(tuple(dict.fromkeys(texts))))


@lru_cache(maxsize=2)
def _clusters(texts: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    # Here, so that the page need not wait for it.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    spoken = [words_or_all(text) for text in texts]
    different = {sequence: number for number, sequence in enumerate(dict.fromkeys(spoken))}
    first, second = _resembling(list(different))
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(len(different),) * 2)
    _, component = connected_components(graph, directed=False)
    numbers: dict[int, int] = {}
    found = [numbers.setdefault(int(component[different[sequence]]), len(numbers)) for sequence in spoken]
    return tuple(zip(texts, found, strict=True))


def _resembling(sequences: Sequence[Sequence[str]]) -> tuple[list[int], list[int]]:
    """The pairs of word sequences, by number, that resemble each other."""
    words, lengths, known = _numbered(sequences)
    runs = _runs(words, lengths)
    sizes = np.diff(runs.indptr)
    is_rare = np.bincount(runs.indices, minlength=runs.shape[1]) <= COMMON
    rare, common = runs[:, is_rare], runs[:, ~is_rare]
    common_sizes = np.diff(common.indptr)
    columns = rare.T.tocsr()
    numbers = _of_digits(words, lengths, known)
    first: list[int] = []
    second: list[int] = []
    for start in range(0, len(sequences), ROWS):
        met = (rare[start : start + ROWS] @ columns).tocoo()
        one, other, shared = met.coords[0] + start, met.coords[1], met.data
        # |A and B| / |A or B| >= r is the same as |A and B| >= r (|A| + |B|) / (1 + r).
        needed = RESEMBLANCE * (sizes[one] + sizes[other]) / (1 + RESEMBLANCE)
        possible = (other > one) & (shared + np.minimum(common_sizes[one], common_sizes[other]) >= needed)
        one, other, shared = one[possible], other[possible], shared[possible]
        shared = shared + np.asarray(common[one].multiply(common[other]).sum(axis=1)).ravel()
        least = np.where(numbers[one] == numbers[other], RESEMBLANCE, RESEMBLANCE_WITH_OTHER_NUMBERS)
        near = shared >= least * (sizes[one] + sizes[other] - shared)
        first += one[near].tolist()
        second += other[near].tolist()
    return first, second


def _numbered(sequences: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The words of all sequences as numbers, one sequence after the other, each between its ends; how many words each
    has, with those ends; and the words by number.

    The ends count as words too, or the first and the last word would be in fewer runs than the others. They are 0.
    """
    known = {word: number for number, word in enumerate(dict.fromkeys(chain([""], *sequences)))}
    ends = ("",) * (RUN - 1)
    lengths = np.array([len(sequence) + 2 * len(ends) for sequence in sequences], dtype=np.int64)
    padded = chain.from_iterable(chain(ends, sequence, ends) for sequence in sequences)
    return np.fromiter(map(known.__getitem__, padded), np.int64, lengths.sum()), lengths, list(known)


def _of_digits(words: np.ndarray, lengths: np.ndarray, known: Sequence[str]) -> np.ndarray:
    """A number for each sequence, the same for those with the same words with digits in the same order."""
    has_digit = np.fromiter((any(map(str.isdigit, word)) for word in known), bool, len(known))
    parts = np.split(words, np.cumsum(lengths)[:-1])
    found: dict[bytes, int] = {}
    return np.array([found.setdefault(part[has_digit[part]].tobytes(), len(found)) for part in parts])


def _runs(words: np.ndarray, lengths: np.ndarray) -> csr_array:
    """A row for each sequence and a column for each run, 1 where the sequence has it.

    In arrays throughout: it is a few million runs for some ten thousand passages, and as objects of Python they would
    keep every other thread waiting meanwhile.
    """
    from scipy.sparse import csr_array

    begins_a_run = np.ones(len(words), dtype=bool)
    for back in range(1, RUN):
        begins_a_run[np.cumsum(lengths) - back] = False
    place = np.flatnonzero(begins_a_run)
    runs, different = words[place], words.max(initial=0) + 1
    for step in range(1, RUN):
        if runs.max(initial=0) > np.iinfo(np.int64).max // different - 1:
            _, runs = np.unique(runs, return_inverse=True)
        runs = runs * different + words[place + step]
    _, runs = np.unique(runs, return_inverse=True)
    ends = np.concatenate([[0], np.cumsum(lengths - (RUN - 1))])
    shape = (len(lengths), runs.max(initial=0) + 1)
    found = csr_array((np.ones(len(runs), dtype=np.int32), runs, ends), shape=shape)
    found.sum_duplicates()
    found.data[:] = 1
    return found


def groups(relevant: Sequence[tuple[str, str]], queries: Mapping[str, str], most: float = 1.0) -> dict[str, int]:
    """The group of each query (id -> text): queries that say the same, or share nearly the same relevant passage.

    `relevant` are (query id, passage) pairs. Passages that are not relevant to both do not join queries: a first stage
    finds the same ones for many, and all queries would end up in one group. Where much is relevant to each query, that
    happens all the same, each sharing something with the next. So a group of more than `most` of all queries is taken
    apart: of its queries only those stay together that say the same, or share at least OVERLAP of what is relevant to
    either.
    """
    from scipy.cluster.hierarchy import DisjointSet

    near = clusters(passage for _, passage in relevant)
    answers: dict[str, set[int]] = {query_id: set() for query_id in queries}
    for query_id, passage in relevant:
        answers[query_id].add(near[passage])
    found = DisjointSet(queries)
    _merge_same(found, queries, lambda query_id: [words_or_all(queries[query_id]), *answers[query_id]])
    parts = []
    for group in found.subsets():
        parts += [group] if len(group) <= most * len(queries) else _apart(group, queries, answers)
    group_of = {query_id: number for number, part in enumerate(parts) for query_id in part}
    numbers: dict[int, int] = {}
    return {query_id: numbers.setdefault(group_of[query_id], len(numbers)) for query_id in queries}


def _merge_same(found: DisjointSet, queries: Iterable[str], keys_of: Callable[[str], Iterable[object]]) -> None:
    """Merge the queries that have a key in common."""
    first: dict[object, str] = {}
    for query_id in queries:
        for key in keys_of(query_id):
            found.merge(first.setdefault(key, query_id), query_id)


def _apart(group: Iterable[str], queries: Mapping[str, str], answers: Mapping[str, set[int]]) -> list[set[str]]:
    """The queries of a group in smaller ones: those that say the same, or have answers that overlap enough."""
    from scipy.cluster.hierarchy import DisjointSet
    from scipy.sparse import csr_array

    group = list(group)
    found = DisjointSet(group)
    _merge_same(found, group, lambda query_id: [words_or_all(queries[query_id]), frozenset(answers[query_id])])
    # Of queries with the same answers one is enough to compare with.
    different = list({frozenset(answers[query_id]): query_id for query_id in group}.values())
    columns = [answer for query_id in different for answer in answers[query_id]]
    ends = np.cumsum([0, *(len(answers[query_id]) for query_id in different)])
    has = csr_array((np.ones(len(columns), dtype=np.int32), columns, ends))
    sizes = np.diff(ends)
    others = has.T.tocsr()
    for start in range(0, len(different), ROWS):
        met = (has[start : start + ROWS] @ others).tocoo()
        one, other = met.coords[0] + start, met.coords[1]
        enough = met.data >= OVERLAP * (sizes[one] + sizes[other] - met.data)
        for place, another in zip(one[enough], other[enough], strict=True):
            found.merge(different[place], different[another])
    return found.subsets()
