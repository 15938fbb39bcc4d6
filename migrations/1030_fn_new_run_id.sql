-- Makes a UUIDv7 (RFC 9562) on PostgreSQL 15 and later: milliseconds since 1970 in the first 48 bits, then random.
create or replace function pgflow.new_run_id() returns uuid
language sql volatile parallel safe
as $$
    select encode(
        set_bit(
            set_bit(
                overlay(
                    uuid_send(gen_random_uuid())
                    placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
                    from 1 for 6
                ),
                52, 1
            ),
            53, 1
        ),
        'hex'
    )::uuid
$$;
