-- Windows that were captioned more than once, with the first caption and the one that counts.
-- kind = report
-- param caption_set = "" : only this caption set; all where empty
-- param limit = 100 : rows at most
with again as materialized (
    select distinct window_id, caption_set
    from captions
    where attempt > 1 and ($caption_set = '' or caption_set = $caption_set)
),
-- `in` keeps what was found and streams the tables; a join by itself would keep whole tables, which do not fit into memory.
tries as (
    select window_id, caption_set, attempt, caption from captions where window_id in (select window_id from again)
),
latest as (
    select window_id, caption_set, attempt, status, caption
    from captions_latest
    where window_id in (select window_id from again)
)
select
    a.window_id,
    a.caption_set,
    count(*) as attempts,
    any_value(c.attempt) as counts,
    any_value(c.status) as status,
    arg_min(a.caption, a.attempt) as first_caption,
    any_value(c.caption) as caption
from again
join tries as a using (window_id, caption_set)
join latest as c on c.window_id = a.window_id and c.caption_set = a.caption_set
group by a.window_id, a.caption_set
having count(*) > 1
order by a.window_id, a.caption_set
limit $limit
