-- Captions of different clips that are nearly the same words, whatever their order, case or marks.
-- kind = check
-- threshold = 0 : rows
-- param caption_set = "" : only this caption set; all where empty
-- param min_similarity = 0.9 : smallest share of two captions' different words that both have (Jaccard), 0 to 1
-- param min_words = 4 : captions of fewer different words are left out
--
-- Comparing all pairs would take for ever, so hashes choose them. The different words of a caption are dealt by their hash
-- into 1, 2, 4, 8 or 16 hands of 4 to 12 words, and captions of which one of the first four hands is the same are compared,
-- each with the first of them. Two captions of fewer than 40 words, of which 0.9 are the same, nearly always have such a
-- hand, longer ones in 76 to 97 cases of 100; captions that only share their common words hardly ever.
with hashed as (
    select
        caption_set,
        hash(caption_set, caption) as id,
        list_distinct(list_transform(
            regexp_extract_all(lower(caption), '[\p{L}\p{N}]+'), lambda word: hash(word)
        )) as words
    from captions_latest
    where status = 'ok' and ($caption_set = '' or caption_set = $caption_set)
),
dealt as (
    select
        *,
        case when len(words) < 9 then 1 when len(words) < 18 then 2 when len(words) < 40 then 4
            when len(words) < 96 then 8 else 16 end::ubigint as hands
    from hashed
    where len(words) >= $min_words
),
-- Nothing but numbers of eight bytes from here on: ten million captions have to fit into memory. An empty hand is null.
signatures as materialized (
    select
        id,
        xor(hash(caption_set, hands, 0), list_bit_xor(list_filter(words, lambda word: word % hands = 0))) as band_1,
        xor(hash(caption_set, hands, 1), list_bit_xor(list_filter(words, lambda word: word % hands = 1))) as band_2,
        xor(hash(caption_set, hands, 2), list_bit_xor(list_filter(words, lambda word: word % hands = 2))) as band_3,
        xor(hash(caption_set, hands, 3), list_bit_xor(list_filter(words, lambda word: word % hands = 3))) as band_4
    from dealt
),
-- Hands that several captions have, with the first of these. Each asks how many there were before it, and so waits for
-- that: of ten million captions one such table fits into memory, and four don't.
shared_1 as materialized (
    select band_1 as band, min(id) as id from signatures group by band_1 having min(id) <> max(id)
),
shared_2 as materialized (
    select band_2 as band, min(id) as id
    from signatures, (select count(*) as before from shared_1) where before >= 0
    group by band_2 having min(id) <> max(id)
),
shared_3 as materialized (
    select band_3 as band, min(id) as id
    from signatures, (select count(*) as before from shared_2) where before >= 0
    group by band_3 having min(id) <> max(id)
),
shared_4 as materialized (
    select band_4 as band, min(id) as id
    from signatures, (select count(*) as before from shared_3) where before >= 0
    group by band_4 having min(id) <> max(id)
),
shared as (
    from shared_1 union all from shared_2 union all from shared_3 union all from shared_4
),
chosen as materialized (
    select distinct banded.id, shared.id as other_id
    from (select id, unnest([band_1, band_2, band_3, band_4]) as band from signatures) as banded
    join shared on shared.band = banded.band and shared.id <> banded.id
),
-- The texts that were chosen, one row each, and whether they are of one clip. Of ten million windows only theirs may
-- wait in memory for a join.
said as materialized (
    select hash(caption_set, caption) as id, caption_set, caption, window_id
    from captions_latest
    where status = 'ok' and hash(caption_set, caption) in (select id from chosen union select other_id from chosen)
),
placed as materialized (
    select window_id, clip_id from windows where window_id in (select window_id from said)
),
spoken as materialized (
    select
        id,
        any_value(caption_set) as caption_set,
        any_value(caption) as caption,
        min(window_id) as window_id,
        min(clip_id) as first_clip,
        max(clip_id) as last_clip
    from said
    join placed using (window_id)
    group by id
),
pairs as (
    select
        a.caption_set,
        greatest(a.window_id, b.window_id) as window_id,
        least(a.window_id, b.window_id) as other_window_id,
        case when a.window_id > b.window_id then a.caption else b.caption end as caption,
        case when a.window_id > b.window_id then b.caption else a.caption end as other_caption
    from chosen
    join spoken as a on a.id = chosen.id
    join spoken as b on b.id = chosen.other_id
    where least(a.first_clip, b.first_clip) <> greatest(a.last_clip, b.last_clip)
),
worded as (
    select
        *,
        list_distinct(regexp_extract_all(lower(caption), '[\p{L}\p{N}]+')) as words,
        list_distinct(regexp_extract_all(lower(other_caption), '[\p{L}\p{N}]+')) as others
    from pairs
),
compared as (
    select *, len(list_intersect(words, others)) / len(list_distinct(words || others)) as similarity
    from worded
    where least(len(words), len(others)) >= $min_words
)
select caption_set, round(similarity, 3) as similarity, window_id, other_window_id, caption, other_caption
from compared
where similarity >= $min_similarity
order by compared.similarity desc, window_id, other_window_id, caption_set
