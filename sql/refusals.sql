-- Captions in which the model talks about itself, or declines, instead of saying what it sees.
-- kind = check
-- threshold = 0 : rows
-- param caption_set = "" : only this caption set; all where empty
-- param pattern = "(?i)\\b(as an ai|i'?m sorry|i am sorry|i apologi[sz]e|i can(no|')t|i am (not able|unable)|i'm (not able|unable)|unable to (view|see|process|watch))" : regular expression that gives it away
select window_id, caption_set, regexp_extract(caption, $pattern) as words, caption
from captions_latest
where status = 'ok' and ($caption_set = '' or caption_set = $caption_set) and regexp_matches(caption, $pattern)
order by window_id, caption_set
