-- Captions of different clips that are nearly the same words, whatever their order, case or marks.
-- kind = check
-- threshold = 0 : rows
-- param caption_set = "" : only this caption set; all where empty
-- param min_similarity = 0.9 : smallest share of two captions' different words that both have (Jaccard), 0 to 1
-- param min_words = 4 : captions of fewer different words are left out
with bags as (
    select
        c.caption_set,
        c.window_id,
        w.clip_id,
        hash(c.caption_set, c.caption) as id,
        list_distinct(list_filter(
            regexp_split_to_array(lower(c.caption), '[^\p{L}\p{N}]+'), lambda word: word <> ''
        )) as words
    from captions_latest as c
    join windows as w on w.window_id = c.window_id
    where c.status = 'ok' and ($caption_set = '' or c.caption_set = $caption_set)
),
-- Comparing all pairs would take for ever, so MinHash chooses them: of 16 hash functions, a caption keeps the smallest
-- hash of its words by each, and captions that agree on one of four bands of four are compared, each with the first of
-- them. A pair as similar as 0.9 is chosen with 99% probability, one of 0.8 with 88%, one of 0.5 with 22%.
hashed as (
    select
        * exclude (words),
        list_transform(range(16), lambda i: list_min(list_transform(words, lambda word: hash(word, i)))) as smallest
    from bags
    where len(words) >= $min_words
),
signatures as (
    select
        * exclude (smallest),
        list_transform(
            range(4), lambda b: hash(caption_set, b, list_slice(smallest, 4 * b + 1, 4 * b + 4))
        ) as bands
    from hashed
),
-- One row a text, and ids of eight bytes from here on: a million captions have to fit into memory.
texts as materialized (
    select
        id,
        min(window_id) as window_id,
        min(clip_id) as first_clip,
        max(clip_id) as last_clip,
        any_value(bands[1]) as band_1,
        any_value(bands[2]) as band_2,
        any_value(bands[3]) as band_3,
        any_value(bands[4]) as band_4
    from signatures
    group by id
),
banded as (
    select id, unnest([band_1, band_2, band_3, band_4]) as band from texts
),
shared as (
    select band, min(id) as id from banded group by band having count(*) > 1
),
chosen as materialized (
    select distinct banded.id, shared.id as other_id
    from banded
    join shared on shared.band = banded.band and shared.id <> banded.id
),
across as materialized (
    select chosen.*
    from chosen
    join texts as a on a.id = chosen.id
    join texts as b on b.id = chosen.other_id
    where least(a.first_clip, b.first_clip) <> greatest(a.last_clip, b.last_clip)
),
wanted as (
    select texts.id, texts.window_id
    from texts
    semi join (select id from across union select other_id from across) as paired on paired.id = texts.id
),
spoken as materialized (
    select
        wanted.id,
        c.caption_set,
        c.window_id,
        c.caption
    from captions_latest as c
    join wanted on wanted.window_id = c.window_id and wanted.id = hash(c.caption_set, c.caption)
),
pairs as (
    select
        a.caption_set,
        greatest(a.window_id, b.window_id) as window_id,
        least(a.window_id, b.window_id) as other_window_id,
        case when a.window_id > b.window_id then a.caption else b.caption end as caption,
        case when a.window_id > b.window_id then b.caption else a.caption end as other_caption
    from across
    join spoken as a on a.id = across.id
    join spoken as b on b.id = across.other_id
),
worded as (
    select
        *,
        list_filter(regexp_split_to_array(lower(caption), '[^\p{L}\p{N}]+'), lambda word: word <> '') as words,
        list_filter(regexp_split_to_array(lower(other_caption), '[^\p{L}\p{N}]+'), lambda word: word <> '') as others
    from pairs
),
compared as (
    select *, len(list_intersect(words, others)) / len(list_distinct(words || others)) as similarity from worded
)
select caption_set, round(similarity, 3) as similarity, window_id, other_window_id, caption, other_caption
from compared
where similarity >= $min_similarity
order by compared.similarity desc, window_id, other_window_id, caption_set
