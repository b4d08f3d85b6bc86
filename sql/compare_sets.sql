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
    select hash(window_id) as id, hash(window_id, caption) as said
    from captions_latest
    where status = 'ok' and caption_set = (select right_set from chosen where left_set <> right_set)
),
page as materialized (
    select window_id
    from captions_latest
    where
        status = 'ok'
        and caption_set = (select left_set from chosen)
        and hash(window_id) in (select id from rights)
        and hash(window_id, caption) not in (select said from rights where $only_different)
    order by window_id
    limit $limit
),
said as (select * from captions_latest where status = 'ok' and window_id in (select window_id from page))
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
join said as l on l.caption_set = chosen.left_set and l.window_id = page.window_id
join said as r on r.caption_set = chosen.right_set and r.window_id = page.window_id
order by page.window_id
