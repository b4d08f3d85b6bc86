-- What colcap warned of, by table and text, with one example each.
-- kind = report
with warned as (
    select 'clips' as table_name, clip_id as id, warning from clips
    union all select 'windows', window_id, warning from windows
    union all select 'previews', window_id, warning from previews
    union all select 'captions', window_id, warning from captions_latest
)
select table_name, warning, count(*) as rows, min(id) as example_id
from warned
where warning <> ''
group by table_name, warning
order by rows desc, table_name, warning
