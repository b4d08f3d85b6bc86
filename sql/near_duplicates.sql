-- Captions of several windows that are not the same text but the same words, whatever their order, case or marks.
-- kind = check
-- param caption_set = "" : only this caption set; all where empty
-- param min_words = 4 : captions of fewer different words are left out
with bags as (
    select
        window_id,
        caption_set,
        caption,
        list_sort(list_distinct(list_filter(
            regexp_split_to_array(lower(caption), '[^\p{L}\p{N}]+'), lambda word: word <> ''
        ))) as words
    from captions_latest
    where status = 'ok' and ($caption_set = '' or caption_set = $caption_set)
)
select
    caption_set,
    count(*) as windows,
    count(distinct caption) as wordings,
    min(window_id) as first_window_id,
    max(window_id) as last_window_id,
    min(caption) as one_caption,
    max(caption) as another_caption
from bags
where len(words) >= $min_words
group by caption_set, words
having count(distinct caption) > 1
order by windows desc, first_window_id, caption_set
