-- Every window with its caption, where it is in its clip, and the enhanced caption where there is one.
-- kind = report
-- param caption_set = "" : only this caption set; all where empty
-- param contains = "" : only captions with this text in them, upper and lower case alike
-- param limit = 100 : rows at most
with page as (
    select window_id, caption_set, caption, finish_reason
    from captions_latest
    where
        status = 'ok'
        and ($caption_set = '' or caption_set = $caption_set)
        and ($contains = '' or contains(lower(caption), lower($contains)))
    order by window_id, caption_set
    limit $limit
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
left join windows as w on w.window_id = c.window_id
left join clips on clips.clip_id = w.clip_id
left join enhanced_latest as e on e.window_id = c.window_id and e.caption_set = c.caption_set
order by c.window_id, c.caption_set
