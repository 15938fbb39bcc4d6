-- Writes what a session serves, in place of what it served before: the catalogue. The arrays run side by side; a hash
-- stands for its description and schemas. What is stored already is not written again: a worker that reconnects, or
-- the hundredth that serves the same, writes at most its own rows.
--   Locks: handler_details in the order of their hashes, after everything else. Raises 55P03 when somebody keeps one
--   for 3 s, see resume_session.
create or replace function pgflow.serve_handlers(
    p_session_id uuid, p_scopes text[], p_handlers text[], p_hashes bytea[], p_descriptions text[],
    p_params_schemas text[], p_input_schemas text[], p_output_schemas text[]
) returns void
language plpgsql
set lock_timeout = '3s'
as $$
declare
    v_now constant timestamptz := pgflow.now();
begin
    insert into pgflow.handler_details (
        content_hash, description, params_schema, input_schema, output_schema, seen_at
    )
    select distinct on (u.content_hash)
           u.content_hash, u.description, u.params_schema::json, u.input_schema::json, u.output_schema::json, v_now
    from unnest(p_hashes, p_descriptions, p_params_schemas, p_input_schemas, p_output_schemas)
        as u (content_hash, description, params_schema, input_schema, output_schema)
    where not exists (
        select from pgflow.handler_details as d
        where d.content_hash = u.content_hash and d.seen_at > v_now - interval '10 minutes'
    )
    order by u.content_hash
    on conflict (content_hash) do update set seen_at = excluded.seen_at;

    -- `not in` is hashed; as `not exists` it may become a loop in a loop.
    delete from pgflow.session_handlers as h
    where h.session_id = p_session_id and (h.scope, h.handler, h.details_id) not in (
        select u.scope, u.handler, d.details_id
        from unnest(p_scopes, p_handlers, p_hashes) as u (scope, handler, content_hash)
        join pgflow.handler_details as d on d.content_hash = u.content_hash
    );
    insert into pgflow.session_handlers (handler, scope, session_id, details_id)
    select u.handler, u.scope, p_session_id, d.details_id
    from unnest(p_scopes, p_handlers, p_hashes) as u (scope, handler, content_hash)
    join pgflow.handler_details as d on d.content_hash = u.content_hash
    on conflict do nothing;
end
$$;
