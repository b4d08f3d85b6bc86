-- Captions that are suspiciously short or long.
-- kind = check
-- threshold = 0 : rows
-- param caption_set = "" : only this caption set; all where empty
-- param min_chars = 20 : shortest caption that is not suspicious
-- param max_chars = 4000 : longest caption that is not suspicious
select
    window_id,
    caption_set,
    length(caption) as chars,
    case when length(caption) < $min_chars then 'short' else 'long' end as problem,
    finish_reason,
    caption
from captions_latest
where status = 'ok' and ($caption_set = '' or caption_set = $caption_set) and length(caption) not between $min_chars and $max_chars
order by chars, window_id, caption_set
