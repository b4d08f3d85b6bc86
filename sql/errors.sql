-- What went wrong, by table and kind, with one example each. Skipped rows (too short, no video) are counted too.
-- kind = report
-- param skipped = true : count skipped rows as well
with failed as (
    select 1 as place, 'clips' as table_name, clip_id as id, status, error_kind, error from clips
    union all select 2, 'windows', window_id, status, error_kind, error from windows
    union all select 3, 'previews', window_id, status, error_kind, error from previews
    union all select 4, 'captions', window_id, status, error_kind, error from captions_latest
    union all select 5, 'enhanced', window_id, status, error_kind, error from enhanced_latest
)
select
    table_name,
    status,
    error_kind,
    count(*) as rows,
    min(id) as example_id,
    coalesce(arg_min(error, id), '') as example
from failed
where status = 'error' or (status = 'skipped' and $skipped)
group by place, table_name, status, error_kind
order by place, rows desc, error_kind
