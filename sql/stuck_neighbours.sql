-- Windows of one clip, one after the other, with the same caption: either nothing happened or the model is stuck.
-- kind = check
-- threshold = 0 : windows
-- param caption_set = "" : only this caption set; all where empty
-- param min_windows = 2 : fewest windows in a row that are suspicious
with placed as (
    select
        c.caption_set,
        w.clip_id,
        w.window_index,
        w.start_s,
        w.end_s,
        c.window_id,
        c.caption,
        w.window_index - row_number() over (
            partition by c.caption_set, w.clip_id, c.caption order by w.window_index
        ) as stretch
    from captions_latest as c
    join windows as w on w.window_id = c.window_id
    where
        c.status = 'ok'
        and ($caption_set = '' or c.caption_set = $caption_set)
        -- By hash first, since nearly every caption is its own: ten million of them have to fit into memory.
        and hash(c.caption_set, c.caption) in (
            select hash(caption_set, caption) from captions_latest where status = 'ok' group by 1 having count(*) >= $min_windows
        )
)
select
    caption_set,
    clip_id,
    count(*) as windows,
    min(window_id) as first_window_id,
    min(start_s) as start_s,
    max(end_s) as end_s,
    caption
from placed
group by caption_set, clip_id, caption, stretch
having count(*) >= $min_windows
order by windows desc, clip_id, first_window_id, caption_set
