-- Windows whose preview does not move: a still picture, a camera that hangs, a loop of one frame.
-- kind = check
-- threshold = 0 : rows
-- param max_motion = 0.1 : mean difference between frames shown one after the other, of 255; a small thing that moves in a still picture is little
-- param min_frames = 3 : frames that a preview must show before it can be called frozen
select window_id, clip_id, start_s, end_s, p.num_frames as frames_shown, round(p.motion, 4) as motion
from previews as p
join windows using (window_id)
where p.motion <= $max_motion and p.num_frames >= $min_frames
order by p.motion, window_id
