"""Choosing windows and failures by an SQL condition; it may only read, like every query of a user's.

The rows that a condition is asked of are a join of all tables, which for ten million windows does not fit into memory.
So it is asked of some parts after others: the relations here read from the schema `share`. A subquery of the
condition sees the whole run, as any SQL does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import duckdb
import polars as pl

from colcap.errors import QueryError, printable
from colcap.qa.answer import First, Select
from colcap.qa.connect import connect
from colcap.qa.guard import earlier
from colcap.qa.queries import ask, ask_select
from colcap.qa.views import share_statements

SHARE_BYTES: Final = 128 << 20
"""Of part files that are joined at a time: some 400,000 windows."""

EVERYTHING: Final = """
select
    w.window_id, clips.clip_id, clips.uri, clips.part, w.window_index, w.start_s, w.end_s, w.num_frames, w.cut,
    p.webp_bytes, p.width as preview_width, p.height as preview_height, p.status as preview_status,
    c.caption_set, c.attempt, c.caption, c.prompt_tokens, c.output_tokens, c.finish_reason, c.model, c.prompt_variant,
    e.enhanced_caption, e.output_tokens as enhanced_tokens, e.finish_reason as enhanced_finish_reason,
    w.status as window_status,
    case
        when 'error' in (w.status, p.status, c.status, e.status) then 'error'
        when 'skipped' in (w.status, c.status) then 'skipped'
        else coalesce(w.status, clips.status)
    end as status,
    coalesce(c.error_kind, w.error_kind, p.error_kind, e.error_kind, clips.error_kind) as error_kind,
    coalesce(c.error, w.error, p.error, e.error, clips.error) as error,
    nullif(concat_ws(chr(10), nullif(clips.warning, ''), nullif(w.warning, ''), nullif(p.warning, ''),
        nullif(c.warning, '')), '') as warning,
    clips.* exclude (clip_id, uri, part, warning, num_frames, status, error_kind, error)
from share.clips
left join share.windows as w on w.clip_id = clips.clip_id
left join share.previews as p on p.window_id = w.window_id
left join share.captions_latest as c on c.window_id = w.window_id and ($of_set is null or c.caption_set = $of_set)
left join share.enhanced_latest as e
    on e.window_id = c.window_id and e.caption_set = c.caption_set and e.caption_attempt = c.attempt
"""
"""One row a window and caption set, of `$of_set` alone where that is not null; one row for a window without captions,
or a clip without windows. An enhancement is beside the very caption that it is of. `--where` may use any column."""

FAILURES: Final = """
select 'clips' as table_name, part, clip_id, null as window_id, null as caption_set, uri, error_kind, error
from share.clips where status = 'error'
union all
select 'windows', clips.part, clip_id, w.window_id, null, clips.uri, w.error_kind, w.error
from share.windows as w join share.clips using (clip_id) where w.status = 'error'
union all
select 'previews', clips.part, clip_id, p.window_id, null, clips.uri, p.error_kind, p.error
from share.previews as p join share.windows as w using (window_id) join share.clips using (clip_id)
where p.status = 'error' and w.status = 'ok'
union all
select 'captions', clips.part, clip_id, c.window_id, c.caption_set, clips.uri, c.error_kind, c.error
from share.captions_latest as c join share.windows as w using (window_id) join share.clips using (clip_id)
where c.status = 'error' and w.status = 'ok'
union all
select 'enhanced', clips.part, clip_id, e.window_id, e.caption_set, clips.uri, e.error_kind, e.error
from share.enhanced_latest as e join share.windows as w using (window_id) join share.clips using (clip_id)
where e.status = 'error' and w.status = 'ok'
"""
"""One row for each row that failed by itself; what failed because of it is not repeated."""

_CHOSEN: Final = """
with chosen as (select distinct window_id, part from ({matching}) where window_id is not null and window_status = 'ok')
select chosen.window_id, part, latest.fingerprint is not null and latest.fingerprint = $fingerprint as is_there
from chosen
left join share.captions_latest as latest
on latest.window_id = chosen.window_id and latest.caption_set = $caption_set and latest.status = 'ok'
"""


def ask_where(
    run: Path,
    query: str,
    *,
    rows: str,
    where: str | None,
    params: Mapping[str, object] | None = None,
    first: First | None = None,
) -> pl.DataFrame:
    """Ask about the rows of a relation for which a condition holds; all of them where there is none.

    Parameters
    ----------
    run : the run folder.
    query : a SELECT; `{matching}` in it becomes a SELECT of those rows. It is asked of one share of the run's parts
        after another; its answers come together.
    rows : the relation, as a SELECT from tables of the schema `share`.
    where : a stranger's condition over its columns.
    params : values of `$name` parameters.
    first : which rows of the answer are wanted.

    Raises
    ------
    QueryError : the condition is wrong, or would do more than read; what it says is about the condition alone.
    """
    shares = share_statements(Path(os.path.realpath(run)), num_bytes=SHARE_BYTES)
    if where is None:
        with closing(connect(run)) as connection:
            return ask_select(connection, Select(query.format(matching=rows), params or {}, shares, first))
    _check_syntax(where)
    # The newline at its end keeps a comment there from swallowing the bracket.
    before, after = query.lstrip().format(matching=f"select * from ({rows}) as everything where (\n\0\n)").split("\0")
    try:
        return ask_select(run, Select(before + where + after, dict(params or {}), shares, first))
    except QueryError as error:
        text = earlier(str(error), lines=before.count("\n"))
        raise QueryError(text.replace('\nCandidate tables: "everything"', "")) from None


def _check_syntax(where: str) -> None:
    """Its mistakes are found before it is part of a query, whose brackets they would be told of otherwise."""
    try:
        duckdb.SQLExpression(where)
    except duckdb.Error as error:
        raise QueryError(f"{printable(str(error))}\n\nin the condition: {printable(where)}") from None


def windows_where(run: Path, where: str | None, *, caption_set: str, fingerprint: str) -> pl.DataFrame:
    """Windows for which a condition over EVERYTHING's columns holds.

    Parameters
    ----------
    run : the run folder.
    where : the condition. It sees the rows of `caption_set` where that set has any, else those of all sets.
    caption_set : the set that is to be captioned.
    fingerprint : of the caption to make.

    Returns
    -------
    `window_id`, `part`, and `is_there`: the window's caption is of this very fingerprint already.

    Raises
    ------
    QueryError : the condition is wrong, or would do more than read.
    """
    with closing(connect(run)) as connection:
        there = ask(connection, "select 1 from captions where caption_set = $it limit 1", params={"it": caption_set})
    of_set = caption_set if there.height else None
    params = {"caption_set": caption_set, "fingerprint": fingerprint, "of_set": of_set}
    return ask_where(run, _CHOSEN, rows=EVERYTHING, where=where, params=params)


def failures(run: Path, where: str | None = None) -> pl.DataFrame:
    """Rows that failed and for which a condition over FAILURES' columns holds.

    Raises
    ------
    QueryError : the condition is wrong, or would do more than read.
    """
    return ask_where(run, "{matching}", rows=FAILURES, where=where)


def without_caption(run: Path, caption_set: str) -> pl.DataFrame:
    """`window_id` and `part` of windows that have no row at all in a caption set."""
    rows = """select w.window_id, clips.part from share.windows as w join share.clips using (clip_id)
        where w.window_id not in (select window_id from share.captions where caption_set = $caption_set)"""
    return ask_where(run, "{matching}", rows=rows, where=None, params={"caption_set": caption_set})
