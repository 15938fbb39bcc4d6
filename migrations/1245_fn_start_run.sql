-- Starts one run, for people at psql: pgflow.start_run('etl', '{"day": 1}'). Returns the run.
--   Raises PF404 for an unknown flow or version, 22023 for an input that a root map cannot take, PF409 for an
--   idempotency key that was used with another input.
create or replace function pgflow.start_run(
    p_workflow_slug text, p_input json default '{}', p_version int default 0, p_idempotency_key text default null,
    p_scope text default ''
) returns pgflow.runs
language plpgsql
as $$
declare
    v_started record;
    v_run pgflow.runs;
begin
    select * into v_started from pgflow.start_runs(
        array[p_workflow_slug], array[p_version], array[p_input::text], array[p_scope], array[p_idempotency_key],
        array[sha256(convert_to(p_input::text, 'UTF8'))], array[pgflow.new_run_id()], array[null::text]
    );
    case v_started.verdict
        when 'created', 'existing' then
            select * into strict v_run from pgflow.runs where run_id = v_started.run_id;
            return v_run;
        when 'unknown_flow' then
            raise exception 'p_workflow_slug: no flow is called "%"; create it with pgflow.create_flow', p_workflow_slug
                using errcode = 'PF404';
        when 'unknown_version' then
            raise exception 'p_version: flow "%" has no version %; its latest is %', p_workflow_slug, p_version,
                v_started.detail using errcode = 'PF404';
        when 'key_reused' then
            raise exception 'p_idempotency_key: "%" was used for flow "%" with another %; use a new key',
                p_idempotency_key, p_workflow_slug, v_started.detail using errcode = 'PF409';
        else
            raise exception 'p_input: %: step % (found, expected); pass an array that fits',
                v_started.verdict, v_started.detail using errcode = '22023';
    end case;
end
$$;
