-- server --
-- What a server must be: new enough, a primary, read committed; and which cluster it is.
select current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('default_transaction_isolation'),
       coalesce(
           case when has_function_privilege('pg_control_system()', 'execute')
               then (select system_identifier::text from pg_control_system()) end, ''
       ) || ':' || (select oid::text from pg_database where datname = current_database())
