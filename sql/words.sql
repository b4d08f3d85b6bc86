-- The words that occur in the most captions.
-- kind = report
-- param caption_set = "" : only this caption set; all where empty
-- param min_chars = 4 : shortest word that is counted
-- param limit = 30 : rows at most
with spoken as (
    select unnest(list_distinct(regexp_extract_all(lower(caption), '[\p{L}\p{N}]+'))) as word
    from captions_latest
    where status = 'ok' and ($caption_set = '' or caption_set = $caption_set)
)
select word, count(*) as captions
from spoken
where length(word) >= $min_chars
group by word
order by captions desc, word
limit $limit
