-- Whether a queue has functions of its own, take_<id> and send_<id>; see define_queue_functions. The first hundred have.
create or replace function pgflow.keeps_plans(p_queue_id int) returns boolean
language sql
immutable
return p_queue_id <= 100;
