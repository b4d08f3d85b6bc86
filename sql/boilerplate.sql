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
        regexp_replace(
            regexp_extract(caption, '^\s*(\S+(?:\s+\S+){0,' || ($words - 1) || '})', 1), '\s+', ' ', 'g'
        ) as opening
    from captions_latest
    where status = 'ok' and ($caption_set = '' or caption_set = $caption_set)
),
sizes as (
    select caption_set, count(*) as captions from openings group by caption_set
),
-- Counted by hash first, since nearly every opening is its own: ten million of them have to fit into memory.
frequent as (
    select hash(caption_set, opening) as id from openings group by id having count(*) >= $min_windows
)
select
    caption_set,
    count(*) as windows,
    round(count(*) / any_value(captions), 3) as share,
    min(window_id) as example_id,
    opening
from openings
join sizes using (caption_set)
where hash(caption_set, opening) in (select id from frequent)
group by caption_set, opening
having count(*) >= $min_windows and count(*) / any_value(captions) >= $min_share
order by windows desc, caption_set, opening
