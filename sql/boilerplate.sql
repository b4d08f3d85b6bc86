-- Openings that many captions share: habits of the model rather than facts of the clip.
-- kind = check
-- threshold = 0 : rows
-- param caption_set = "" : only this caption set; all where empty
-- param words = 6 : words in an opening
-- param min_share = 0.2 : smallest share of a caption set's captions that is suspicious, 0 to 1
-- param min_windows = 5 : fewest captions that are suspicious
with openings as (
    select
        caption_set,
        window_id,
        array_to_string(list_slice(regexp_split_to_array(trim(caption), '\s+'), 1, $words), ' ') as opening,
        count(*) over (partition by caption_set) as captions
    from captions_latest
    where status = 'ok' and ($caption_set = '' or caption_set = $caption_set)
)
select caption_set, count(*) as windows, round(count(*) / any_value(captions), 3) as share, min(window_id) as example_id, opening
from openings
group by caption_set, opening
having count(*) >= $min_windows and count(*) / any_value(captions) >= $min_share
order by windows desc, caption_set, opening
