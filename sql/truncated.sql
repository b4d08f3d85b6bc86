-- Captions that were cut off: the model had more to say than its token limit allowed.
-- kind = check
-- threshold = 0 : rows
-- param caption_set = "" : only this caption set; all where empty
-- param min_tokens = 0 : only captions of at least this many output tokens
-- param unfinished = false : also captions that stopped by themselves but do not end like a sentence
select window_id, caption_set, attempt, output_tokens, finish_reason, caption
from captions_latest
where
    status = 'ok'
    and ($caption_set = '' or caption_set = $caption_set)
    and coalesce(output_tokens, 0) >= $min_tokens
    and (finish_reason = 'length' or ($unfinished and not regexp_matches(trim(caption), '[.!?…。！？]["'')\]}”’»]*$')))
order by output_tokens desc, window_id, caption_set
