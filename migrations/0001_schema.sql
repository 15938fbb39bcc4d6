-- The schema itself and the two things that everything else stands on: the clock and the rule of names.
create schema if not exists pgflow;
comment on schema pgflow is 'stepgres: definitions, runs and transitions of the workflow engine';
