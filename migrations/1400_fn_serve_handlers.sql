-- Writes what a session serves, in place of what it served before: the catalogue. The arrays run side by side.
create or replace function pgflow.serve_handlers(
    p_session_id uuid, p_scopes text[], p_handlers text[], p_descriptions text[], p_params_schemas text[],
    p_input_schemas text[], p_output_schemas text[]
) returns void
language plpgsql
as $$
begin
    delete from pgflow.session_handlers where session_id = p_session_id;
    insert into pgflow.session_handlers (
        session_id, scope, handler, description, params_schema, input_schema, output_schema
    )
    select p_session_id, u.scope, u.handler, u.description, u.params_schema::json, u.input_schema::json,
           u.output_schema::json
    from unnest(p_scopes, p_handlers, p_descriptions, p_params_schemas, p_input_schemas, p_output_schemas)
        as u (scope, handler, description, params_schema, input_schema, output_schema)
    on conflict do nothing;
end
$$;
