-- overdue_sessions --
-- Sessions whose lease ran out a minute ago and that no coordinator swept, with the tasks they hold.
select count(*)::int as session_count,
       coalesce(sum((select l.task_count from pgflow.count_leases(array[s.session_id]) as l)), 0)::int as task_count
from pgflow.sessions as s
where s.closed_at is null and s.lease_until < now() - interval '1 minute'

-- vacuum --
-- Our tables that have far more dead rows than living ones: vacuum does not come, or an old snapshot keeps them.
select schemaname || '.' || relname as table_name, n_dead_tup as dead_rows, n_live_tup as live_rows,
       greatest(last_vacuum, last_autovacuum) as vacuumed_at
from pg_stat_user_tables
where schemaname in ('pgflow', 'pgmq') and n_dead_tup > 50000 and n_dead_tup > 2 * n_live_tup
order by n_dead_tup desc
limit 10

-- server_settings --
-- What the server was told that costs us data or speed.
select current_setting('autovacuum') = 'on' as has_autovacuum, current_setting('fsync') = 'on' as has_fsync,
       current_setting('synchronous_commit') <> 'off' as has_synchronous_commit,
       current_setting('default_transaction_isolation') as isolation

-- oldest_snapshot --
-- The transaction that has kept dead rows from vacuum longest, in seconds; no row: none for more than 15 minutes.
select pid, coalesce(application_name, '') as application_name, state,
       extract(epoch from now() - xact_start)::int as age_s
from pg_stat_activity
where backend_xmin is not null and xact_start < now() - interval '15 minutes' and pid <> pg_backend_pid()
order by xact_start
limit 1

-- connections --
-- How much room is left.
select count(*)::int as used, current_setting('max_connections')::int as allowed
from pg_stat_activity where backend_type = 'client backend'
