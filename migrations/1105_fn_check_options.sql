-- Refuses option values out of range: PF400 with the path, the value and the remedy. p_prefix: path of the step, with
-- a dot, or empty. null values pass.
create or replace function pgflow.check_options(
    p_prefix text, p_max_attempts int, p_timeout int, p_base_delay_s int, p_max_delay_s int, p_queue text
) returns void
language plpgsql immutable
as $$
declare
    v_bad record;
begin
    select * into v_bad
    from (values
        ('max_attempts', p_max_attempts, 1, 1000),
        ('timeout_s', p_timeout, 1, 2592000),
        ('base_delay_s', p_base_delay_s, 0, 86400),
        ('max_delay_s', p_max_delay_s, 0, 604800)
    ) as o (name, given, lowest, highest)
    where given not between lowest and highest limit 1;
    if found then
        raise exception '%: % is out of range; use % to %', p_prefix || v_bad.name, v_bad.given, v_bad.lowest, v_bad.highest
            using errcode = 'PF400', constraint = 'FIELD_OUT_OF_RANGE';
    end if;
    if p_queue is not null then
        perform pgflow.check_name(p_prefix || 'queue', p_queue);
    end if;
end
$$;
