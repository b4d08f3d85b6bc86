-- Enhanced captions that are shorter than the caption they were made from: something got lost.
-- kind = check
-- threshold = 0 : rows
-- param caption_set = "" : only this caption set; all where empty
-- param min_growth = 1.0 : smallest length that is not suspicious, as a multiple of the caption's
select
    e.window_id,
    e.caption_set,
    round(length(e.enhanced_caption) / length(c.caption), 3) as growth,
    e.finish_reason,
    c.caption,
    e.enhanced_caption
from enhanced_latest as e
join captions_latest as c on c.window_id = e.window_id and c.caption_set = e.caption_set
where
    e.status = 'ok'
    and c.status = 'ok'
    and ($caption_set = '' or e.caption_set = $caption_set)
    and length(e.enhanced_caption) < $min_growth * length(c.caption)
order by growth, e.window_id, e.caption_set
