-- What a flow's document says beside its value, and has no column that says it word for word: options as
-- they were written, and fields that nobody here has heard of. Versions deployed before have none of it.
alter table mill.flow add column rest json not null default '{}';
