-- pin_plans --
-- The settings of the hot functions, for one transaction: reads follow indexes whatever the statistics say, and no
-- query that takes a millisecond is compiled for a second.
select set_config('plan_cache_mode', %s, true), set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_bitmapscan', 'off', true), set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true)
