-- Captions of different clips that are nearly the same words, whatever their order, case or marks.
-- kind = check
-- threshold = 0 : rows
-- param caption_set = "" : only this caption set; all where empty
-- param min_similarity = 0.9 : smallest share of two captions' different words that both have (Jaccard), 0 to 1
-- param min_words = 4 : captions of fewer different words are left out
with texts as (
    select
        c.caption_set,
        c.caption,
        min(c.window_id) as window_id,
        min(w.clip_id) as first_clip,
        max(w.clip_id) as last_clip
    from captions_latest as c
    join windows as w on w.window_id = c.window_id
    where c.status = 'ok' and ($caption_set = '' or c.caption_set = $caption_set)
    group by c.caption_set, c.caption
),
bags as materialized (
    select
        *,
        list_distinct(list_filter(
            regexp_split_to_array(lower(caption), '[^\p{L}\p{N}]+'), lambda word: word <> ''
        )) as words
    from texts
),
-- Comparing all pairs would take for ever, so MinHash chooses them: of 16 hash functions, a caption keeps the smallest
-- hash of its words by each, and two captions that agree on one of four bands of four are compared. A pair as similar
-- as 0.9 is chosen with 99% probability, one of 0.8 with 88%, one of 0.5 with 22%. Of captions that share a band, each
-- is compared with the first, not with all.
signatures as (
    select
        caption_set,
        window_id,
        list_transform(range(16), lambda i: list_min(list_transform(words, lambda word: hash(word, i)))) as smallest
    from bags
    where len(words) >= $min_words
),
bands as (
    select caption_set, window_id, unnest(list_transform(
        range(4), lambda band: hash(band, list_slice(smallest, 4 * band + 1, 4 * band + 4))
    )) as band
    from signatures
),
chosen as (
    select distinct caption_set, other_window_id, window_id
    from (select *, min(window_id) over (partition by caption_set, band) as other_window_id from bands)
    where window_id <> other_window_id
),
compared as (
    select
        chosen.*,
        len(list_intersect(a.words, b.words)) / len(list_distinct(a.words || b.words)) as similarity,
        a.caption,
        b.caption as other_caption
    from chosen
    join bags as a on a.caption_set = chosen.caption_set and a.window_id = chosen.window_id
    join bags as b on b.caption_set = chosen.caption_set and b.window_id = chosen.other_window_id
    where least(a.first_clip, b.first_clip) <> greatest(a.last_clip, b.last_clip)
)
select caption_set, round(similarity, 3) as similarity, window_id, other_window_id, caption, other_caption
from compared
where similarity >= $min_similarity
order by compared.similarity desc, window_id, other_window_id, caption_set
