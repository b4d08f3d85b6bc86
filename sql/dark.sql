-- Windows whose preview is nearly black: a covered lens, a fade, a failed recording.
-- kind = check
-- threshold = 0 : rows
-- param max_luma = 12.0 : mean brightness of a dark preview, 0 is black and 255 white
select window_id, clip_id, start_s, end_s, round(p.mean_luma, 2) as mean_luma, round(p.motion, 3) as motion
from previews as p
join windows using (window_id)
where p.mean_luma <= $max_luma
order by p.mean_luma, window_id
