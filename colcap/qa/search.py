"""Ranked full-text search over a run's captions and their enhancements."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from colcap.errors import QueryError, RunError
from colcap.qa import search_index
from colcap.schema import Columns

COLUMNS: Columns = {
    "window_id": pl.String,
    "caption_set": pl.String,
    "score": pl.Float64,
    "caption": pl.String,
    "enhanced_caption": pl.String,
}
RANKED: Final = 50_000
"""Of more hits than this, the first by index order are ranked: ranking a million takes 2.4 s, counting them 0.03."""

_TERM: Final = re.compile(r'"([^"]*)"?|([^\s"]+)')

_BEST: Final = """
SELECT window_id, caption_set, -score, caption, enhanced_caption
FROM (
    SELECT place, score
    FROM (SELECT rowid AS place, bm25(captions) AS score FROM captions WHERE captions MATCH :terms LIMIT :ranked)
    ORDER BY score, place LIMIT :limit
)
JOIN captions ON captions.rowid = place
ORDER BY score, place
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found."""

    hits: int
    """Captions that match, however many rows were wanted."""
    rows: pl.DataFrame
    """The best of them, best first, with the columns of COLUMNS."""


def search(run: Path, words: str, *, limit: int = 20) -> Found:
    """Find captions that have all the words, in themselves or in their enhancement; the best first.

    Parameters
    ----------
    run : the run folder.
    words : words in any order, and "phrases" in double quotes. English endings, case and accents do not matter:
        `circle` finds "Circles". Nothing else has a meaning: AND, *, ( are looked for like any other text.
    limit : rows at most.

    Returns
    -------
    The captions that count (the newest ok attempt), in all caption sets. `score` is BM25, higher is better; of more
    than RANKED hits, the first RANKED are ranked. The index is brought up to date first, which takes about 15 s for
    a million new captions.

    Raises
    ------
    QueryError : there is no word to look for.
    RunError : a part of the run cannot be read, or nothing can be written.
    """
    terms = match_terms(words)
    try:
        return _search(run, terms, limit)
    except sqlite3.Error:
        search_index.remove(run)  # damage that opening it did not show
    try:
        return _search(run, terms, limit)
    except sqlite3.Error as error:
        raise RunError(f"{run}: cannot be searched: {error}") from None


def _search(run: Path, terms: str, limit: int) -> Found:
    with search_index.opened(run) as index:
        ((hits,),) = index.execute("SELECT count(*) FROM captions WHERE captions MATCH ?", (terms,))
        best = index.execute(_BEST, {"terms": terms, "ranked": RANKED, "limit": limit}).fetchall()
    return Found(hits, pl.DataFrame(best, schema=COLUMNS, orient="row"))


def match_terms(words: str) -> str:
    """Words and phrases in FTS5's language, each quoted, so that nothing of it is an operator.

    >>> match_terms('red "moves left" AND circle*')
    '"red" "moves left" "AND" "circle*"'

    Raises
    ------
    QueryError : there is no word in it.
    """
    clean = words.replace("\0", " ").encode("utf-8", "replace").decode()
    terms = [phrase or word for phrase, word in _TERM.findall(clean)]
    spoken = dict.fromkeys(term for term in terms if any(c.isalnum() for c in term))
    if not spoken:
        raise QueryError(f"there is no word to look for in {words!r}")
    return " ".join(f'"{term}"' for term in spoken)
