-- What captions and enhancement cost in tokens, by caption set and model, over all attempts.
-- kind = report
with spent as (
    select 'captions' as step, caption_set, model, prompt_tokens, output_tokens, finish_reason from captions where status = 'ok'
    union all
    select 'enhanced', caption_set, model, prompt_tokens, output_tokens, finish_reason from enhanced where status = 'ok'
)
select
    step,
    caption_set,
    model,
    count(*) as rows,
    sum(prompt_tokens)::bigint as prompt_tokens,
    sum(output_tokens)::bigint as output_tokens,
    round(avg(prompt_tokens), 1) as mean_prompt,
    round(avg(output_tokens), 1) as mean_output,
    quantile_disc(output_tokens, 0.95) as p95_output,
    max(output_tokens) as max_output,
    count(*) filter (finish_reason = 'length') as truncated
from spent
group by step, caption_set, model
order by step, caption_set, model
