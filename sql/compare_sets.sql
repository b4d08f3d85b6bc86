-- Two caption sets side by side, window by window. By default the first and the last set in the alphabet.
-- kind = report
-- param left = "" : a caption set; the first where empty
-- param right = "" : another caption set; the last where empty
-- param only_different = true : leave out windows whose two captions are the same text
-- param limit = 100 : rows at most
with chosen as (
    select
        case when $left = '' then min(caption_set) else $left end as left_set,
        case when $right = '' then max(caption_set) else $right end as right_set
    from captions_latest
),
-- The windows of the answer by hash first, then their texts: all texts do not fit into memory.
rights as (
    select hash(r.window_id) as id, hash(r.caption) as text
    from chosen
    join captions_latest as r on r.caption_set = chosen.right_set
    where r.status = 'ok' and chosen.left_set <> chosen.right_set
),
page as (
    select l.window_id
    from chosen
    join captions_latest as l on l.caption_set = chosen.left_set
    join rights on rights.id = hash(l.window_id)
    where l.status = 'ok' and not ($only_different and hash(l.caption) = rights.text)
    order by l.window_id
    limit $limit
)
select
    page.window_id,
    l.caption_set as left_set,
    r.caption_set as right_set,
    l.caption = r.caption as same,
    l.output_tokens as left_tokens,
    r.output_tokens as right_tokens,
    l.caption as left_caption,
    r.caption as right_caption
from chosen
join page on true
join captions_latest as l on l.caption_set = chosen.left_set and l.window_id = page.window_id
join captions_latest as r on r.caption_set = chosen.right_set and r.window_id = page.window_id
where l.status = 'ok' and r.status = 'ok'
order by page.window_id
