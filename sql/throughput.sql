-- Where the time went: by stage, seconds by the clock and of CPU, rows and bytes, and the pace of one part at a time.
-- kind = report
-- Seconds are added up over parts and batches, which overlap: a stage may have more of them than the run took.
-- The stages wait_media and wait_engine are what the runner waited for; the larger one names the bottleneck.
select
    stage,
    count(distinct part) as parts,
    sum("rows")::bigint as "rows",
    sum(num_bytes)::bigint as num_bytes,
    round(sum(wall_s), 3) as wall_s,
    round(sum(cpu_s), 3) as cpu_s,
    round(sum("rows") / nullif(sum(wall_s), 0), 2) as rows_per_s,
    round(sum(wall_s) / nullif(sum(sum(wall_s)) over (), 0), 3) as share
from timings
group by stage
order by sum(wall_s) desc, stage
