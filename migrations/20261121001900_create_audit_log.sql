-- Acts of OPERATOR and ADMIN, and nothing that could change one afterwards. `op` is not unique: an
-- idempotency key may be used again when its operation is long forgotten.
create table audit_log (
    audit_id bigint generated always as identity,
    op uuid not null,
    at timestamptz not null,
    actor uuid not null,
    role text not null,
    action text not null,
    target text not null,
    before jsonb,
    after jsonb,
    request_id text not null,
    constraint audit_log_pkey primary key (audit_id)
);

create function refuse_audit_log_change() returns trigger language plpgsql as $$
begin
    raise exception 'the audit log is append-only';
end
$$;

create trigger audit_log_append_only before update or delete or truncate on audit_log
    for each statement execute function refuse_audit_log_change();
