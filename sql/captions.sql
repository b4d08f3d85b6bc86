-- Every window with its caption, where it is in its clip, and the enhanced caption where there is one.
-- kind = report
-- param caption_set = "" : only this caption set; all where empty
-- param contains = "" : only captions with this text in them, upper and lower case alike
-- param limit = 100 : rows at most
with page as materialized (
    select window_id, caption_set, attempt, caption, finish_reason
    from captions_latest
    where
        status = 'ok'
        and ($caption_set = '' or caption_set = $caption_set)
        and ($contains = '' or contains(lower(caption), lower($contains)))
    order by window_id, caption_set
    limit $limit
),
-- `in` keeps the page and streams the tables; a join by itself would keep whole tables, which do not fit into memory.
places as (
    select window_id, clip_id, start_s, end_s from windows where window_id in (select window_id from page)
),
sources as (select clip_id, uri from clips where clip_id in (select clip_id from places)),
grown as (
    select window_id, caption_set, caption_attempt, enhanced_caption
    from enhanced_latest
    where window_id in (select window_id from page)
)
select
    c.window_id,
    w.clip_id,
    clips.uri,
    w.start_s,
    w.end_s,
    c.caption,
    e.enhanced_caption,
    c.caption_set,
    c.finish_reason
from page as c
left join places as w on w.window_id = c.window_id
left join sources as clips on clips.clip_id = w.clip_id
left join grown as e
    on e.window_id = c.window_id and e.caption_set = c.caption_set and e.caption_attempt = c.attempt
order by c.window_id, c.caption_set
