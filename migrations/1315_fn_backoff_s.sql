-- Seconds to wait after the p_failures-th failure: min(base * 2^(n-1), max), times a jitter in [0.5, 1].
--   null base = 1 s, null max = 300 s, the server's defaults.
create or replace function pgflow.backoff_s(p_failures int, p_base_delay_s int, p_max_delay_s int) returns float8
language sql volatile parallel safe
return least(coalesce(p_base_delay_s, 1) * 2.0 ^ least(p_failures - 1, 30), coalesce(p_max_delay_s, 300))
    * (0.5 + random() / 2);
