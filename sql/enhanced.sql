-- Captions beside what the enhancement made of them, and how much longer they became.
-- kind = report
-- param caption_set = "" : only this caption set; all where empty
-- param limit = 100 : rows at most
with page as (
    select window_id, caption_set, enhanced_caption, finish_reason
    from enhanced_latest
    where status = 'ok' and ($caption_set = '' or caption_set = $caption_set)
    order by window_id, caption_set
    limit $limit
)
select
    e.window_id,
    e.caption_set,
    c.caption,
    e.enhanced_caption,
    round(length(e.enhanced_caption) / nullif(length(c.caption), 0), 2) as growth,
    e.finish_reason
from page as e
left join captions_latest as c on c.window_id = e.window_id and c.caption_set = e.caption_set
order by e.window_id, e.caption_set
