-- How far every step came: rows, how many of them are ok, skipped or errors, and windows that have no row yet.
-- kind = report
with steps as (
    select 1 as place, 'clips' as step, null::varchar as caption_set, clip_id as id, status from clips
    union all select 2, 'windows', null, window_id, status from windows
    union all select 3, 'previews', null, window_id, status from previews
    union all select 4, 'captions', caption_set, window_id, status from captions_latest
    union all select 5, 'enhanced', caption_set, window_id, status from enhanced_latest
)
select
    step,
    caption_set,
    count(*) as rows,
    count(*) filter (status = 'ok') as ok,
    count(*) filter (status = 'skipped') as skipped,
    count(*) filter (status = 'error') as errors,
    case when place > 1 then greatest(0, (select count(*) from windows) - count(*)) end as missing
from steps
group by place, step, caption_set
order by place, caption_set
