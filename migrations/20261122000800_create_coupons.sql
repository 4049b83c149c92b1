-- Coupons that were claimed, generated or imported, by their code without hyphens. Spread over partitions by
-- code, which is the one thing that each look-up knows; so each index stays a thirty-second of the whole.
-- status: 0 CREATED, 1 ASSIGNED, 2 USED, 3 DELETED. `spelled` is how an imported code was written.
create table coupons (
    expires_at  timestamptz not null,
    assigned_at timestamptz,
    used_at     timestamptz,
    number      bigint,
    user_id     uuid,
    ordinal     integer     not null,
    status      smallint    not null,
    code        text        collate "C" not null,
    spelled     text,
    constraint coupons_pk primary key (code),
    constraint coupons_status_known check (status between 0 and 3),
    constraint coupons_held_by_somebody check (
        status not in (1, 2) or (user_id is not null and assigned_at is not null)
    ),
    constraint coupons_used_at check (status = 3 or (status = 2) = (used_at is not null))
) partition by hash (code);

-- What was claimed in campaigns, as their shards tell it: a user's first, second … coupon of a campaign.
create table coupon_claims (
    number      bigint      not null,
    at          timestamptz not null,
    user_id     uuid        not null,
    ordinal     integer     not null,
    nth         smallint    not null,
    per_user    smallint    not null,
    key_version smallint    not null,
    code        text        collate "C" not null,
    constraint coupon_claims_pk primary key (ordinal, user_id, nth),
    constraint coupon_claims_within_limit check (nth between 1 and per_user)
) partition by hash (user_id);

-- What became of coupons after they were made, in order.
create table coupon_history (
    at     timestamptz not null,
    place  bigint      not null generated always as identity,
    actor  uuid        not null,
    status smallint    not null,
    code   text        collate "C" not null
);

create index coupon_history_by_code on coupon_history (code, place);

-- How many coupons of a campaign are used, in sixteen parts: a hot row would be waited for.
create table coupon_uses (
    ordinal integer  not null,
    slot    smallint not null,
    used    bigint   not null,
    constraint coupon_uses_pk primary key (ordinal, slot)
);

do $$
begin
    for part in 0..31 loop
        execute format('create table coupons_%s partition of coupons
            for values with (modulus 32, remainder %s)', lpad(part::text, 2, '0'), part);
        execute format('create table coupon_claims_%s partition of coupon_claims
            for values with (modulus 32, remainder %s)', lpad(part::text, 2, '0'), part);
    end loop;
end
$$;

create index coupons_by_user on coupons (user_id, assigned_at desc, code) where user_id is not null;
create index coupons_by_expiry on coupons (expires_at, code) where status = 1;
