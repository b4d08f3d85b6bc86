-- Captions that repeat themselves: the share of their word groups that occurred before in the same caption.
-- kind = check
-- threshold = 0 : rows
-- param caption_set = "" : only this caption set; all where empty
-- param n = 3 : words in a group
-- param min_ratio = 0.3 : smallest share that is suspicious, 0 to 1
with split as (
    select
        window_id,
        caption_set,
        caption,
        list_filter(regexp_split_to_array(lower(caption), '[^\p{L}\p{N}]+'), lambda word: word <> '') as words
    from captions_latest
    where status = 'ok' and ($caption_set = '' or caption_set = $caption_set)
),
grouped as (
    select
        window_id,
        caption_set,
        caption,
        len(words) as words,
        list_transform(range(1, len(words) - $n + 2), lambda i: list_slice(words, i, i + $n - 1)) as groups
    from split
)
select window_id, caption_set, round(1 - len(list_distinct(groups)) / len(groups), 3) as ratio, words, caption
from grouped
where len(groups) > 0 and 1 - len(list_distinct(groups)) / len(groups) >= $min_ratio
order by ratio desc, window_id, caption_set
