-- What the clips are like: how many of each codec, size and frame rate, and how long they are in all.
-- kind = report
select
    codec,
    width,
    height,
    round(fps, 2) as fps,
    count(*) as clips,
    sum(num_windows)::bigint as windows,
    round(sum(duration_s), 1) as seconds,
    round(avg(duration_s), 1) as mean_s,
    max(duration_s) as longest_s
from clips
where status = 'ok'
group by all
order by clips desc, codec, width, height, fps
