-- Every clip, window, preview, caption and enhancement that ended in an error; @errors counts them by kind.
-- kind = check
-- threshold = 0 : rows
-- param error_kind = "" : only errors of this kind; all where empty
with failed as (
    select 1 as place, 'clips' as table_name, clip_id as id, null::varchar as caption_set, status, error_kind, error from clips
    union all select 2, 'windows', window_id, null, status, error_kind, error from windows
    union all select 3, 'previews', window_id, null, status, error_kind, error from previews
    union all select 4, 'captions', window_id, caption_set, status, error_kind, error from captions_latest
    union all select 5, 'enhanced', window_id, caption_set, status, error_kind, error from enhanced_latest
)
select table_name, id, caption_set, error_kind, error
from failed
where status = 'error' and ($error_kind = '' or error_kind = $error_kind)
order by place, id, caption_set
