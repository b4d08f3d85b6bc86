-- Captions beside what the enhancement made of them, and how much longer they became.
-- kind = report
-- param caption_set = "" : only this caption set; all where empty
-- param limit = 100 : rows at most
with page as materialized (
    select window_id, caption_set, caption_attempt, enhanced_caption, finish_reason
    from enhanced_latest
    where status = 'ok' and ($caption_set = '' or caption_set = $caption_set)
    order by window_id, caption_set
    limit $limit
),
-- `in` keeps the page and streams the tables; a join by itself would keep whole tables, which do not fit into memory.
origins as (
    select window_id, caption_set, attempt, caption from captions where window_id in (select window_id from page)
)
select
    e.window_id,
    e.caption_set,
    c.caption,
    e.enhanced_caption,
    round(length(e.enhanced_caption) / nullif(length(c.caption), 0), 2) as growth,
    e.finish_reason
from page as e
left join origins as c
    on c.window_id = e.window_id and c.caption_set = e.caption_set and c.attempt = e.caption_attempt
order by e.window_id, e.caption_set
