-- Enhanced captions that are shorter than the caption they were made from: something got lost.
-- kind = check
-- threshold = 0 : rows
-- param caption_set = "" : only this caption set; all where empty
-- param min_growth = 1.0 : smallest length that is not suspicious, as a multiple of the caption's
with
-- Lengths first, and texts of what was found only: all texts do not fit into memory.
lengths as (
    select hash(window_id, caption_set, attempt) as id, length(caption) as chars from captions where status = 'ok'
),
shorter as materialized (
    select e.window_id, e.caption_set
    from enhanced_latest as e
    join lengths on lengths.id = hash(e.window_id, e.caption_set, e.caption_attempt)
    where
        e.status = 'ok'
        and ($caption_set = '' or e.caption_set = $caption_set)
        and length(e.enhanced_caption) < $min_growth * lengths.chars
),
grown as (select * from enhanced_latest where window_id in (select window_id from shorter)),
origins as (select * from captions where window_id in (select window_id from shorter))
select
    e.window_id,
    e.caption_set,
    round(length(e.enhanced_caption) / length(c.caption), 3) as growth,
    e.finish_reason,
    c.caption,
    e.enhanced_caption
from shorter
join grown as e using (window_id, caption_set)
join origins as c
    on c.window_id = e.window_id and c.caption_set = e.caption_set and c.attempt = e.caption_attempt
where length(e.enhanced_caption) < $min_growth * length(c.caption)
order by growth, e.window_id, e.caption_set
