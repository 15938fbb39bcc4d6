-- server --
-- What a server must be: new enough, a primary, read committed; and which cluster it is.
select current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('default_transaction_isolation'),
       coalesce((select oid::text from pg_database where datname = current_database()), '') || ':' || current_database()
