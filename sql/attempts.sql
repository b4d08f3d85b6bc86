-- Windows that were captioned more than once, with the first caption and the one that counts.
-- kind = report
-- param caption_set = "" : only this caption set; all where empty
-- param limit = 100 : rows at most
with again as (
    select distinct window_id, caption_set
    from captions
    where attempt > 1 and ($caption_set = '' or caption_set = $caption_set)
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
join captions as a using (window_id, caption_set)
join captions_latest as c on c.window_id = a.window_id and c.caption_set = a.caption_set
group by a.window_id, a.caption_set
having count(*) > 1
order by a.window_id, a.caption_set
limit $limit
