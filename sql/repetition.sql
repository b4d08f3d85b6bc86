-- Captions that repeat themselves: the share of their word groups that occurred before in the same caption. A sign of
-- Chinese or Japanese is a word; where there are no words, as in `!!!!!!`, any sign is.
-- kind = check
-- threshold = 0 : rows
-- param caption_set = "" : only this caption set; all where empty
-- param n = 3 : words in a group
-- param min_ratio = 0.3 : smallest share that is suspicious, 0 to 1
with hashed as (
    select
        window_id,
        caption_set,
        caption,
        list_transform(
            regexp_extract_all(
                lower(caption),
                '[\x{3040}-\x{30ff}\x{3400}-\x{9fff}\x{f900}-\x{faff}]'
                || '|(?:[^\P{L}\x{3040}-\x{30ff}\x{3400}-\x{9fff}\x{f900}-\x{faff}]|\p{N})+'
            ),
            lambda word: hash(word)
        ) as found,
        case
            when len(found) > 0 then found
            else list_transform(regexp_extract_all(caption, '\S'), lambda sign: hash(sign))
        end as words
    from captions_latest
    where status = 'ok' and ($caption_set = '' or caption_set = $caption_set)
),
-- Groups of hashes, not of words: a third of the time.
grouped as (
    select
        window_id,
        caption_set,
        caption,
        len(words) as words,
        list_transform(words[: len(words) - $n + 1], lambda word, i: hash(words[i : i + $n - 1])) as groups
    from hashed
    where len(words) >= $n
)
select window_id, caption_set, round(1 - list_unique(groups) / len(groups), 3) as ratio, words, caption
from grouped
where 1 - list_unique(groups) / len(groups) >= $min_ratio
order by ratio desc, window_id, caption_set
