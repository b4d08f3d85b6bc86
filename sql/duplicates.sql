-- The same caption, word for word, in several clips.
-- kind = check
-- threshold = 0 : windows
-- param caption_set = "" : only this caption set; all where empty
-- param min_clips = 2 : fewest clips that are suspicious
select
    c.caption_set,
    count(distinct w.clip_id) as clips,
    count(*) as windows,
    min(c.window_id) as first_window_id,
    max(c.window_id) as last_window_id,
    c.caption
from captions_latest as c
join windows as w on w.window_id = c.window_id
where
    c.status = 'ok'
    and ($caption_set = '' or c.caption_set = $caption_set)
    -- By hash first, since nearly every caption is its own: ten million of them have to fit into memory.
    and hash(c.caption_set, c.caption) in (
        select hash(caption_set, caption) from captions_latest where status = 'ok' group by 1 having count(*) >= $min_clips
    )
group by c.caption_set, c.caption
having count(distinct w.clip_id) >= $min_clips
order by clips desc, windows desc, c.caption_set, c.caption
