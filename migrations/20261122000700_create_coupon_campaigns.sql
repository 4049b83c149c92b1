-- Keys that coupons' codes are made with, sealed with the service's secret; the newest makes new codes.
create table coupon_keys (
    version    smallint    not null,
    sealed     bytea       not null,
    created_at timestamptz not null default clock_timestamp(),
    constraint coupon_keys_pk primary key (version)
);

-- What stands in a code for its campaign (16 bits), and how many of its numbers beside `quantity` are taken.
-- Ordinal 0 stands for coupons of no campaign.
create sequence coupon_ordinals_seq as integer minvalue 1 maxvalue 65535;

create table coupon_ordinals (
    ordinal     integer not null default nextval('coupon_ordinals_seq'),
    campaign_id uuid,
    generated   bigint  not null default 0,
    constraint coupon_ordinals_pk primary key (ordinal),
    constraint coupon_ordinals_campaign_unique unique (campaign_id),
    constraint coupon_ordinals_generated_in_range check (generated between 0 and 7179869183)
);

insert into coupon_ordinals (ordinal, campaign_id) values (0, null);

-- Campaigns, as their shards' scripts made them; `claimed` is the last wall against giving out too many.
create table coupon_campaigns (
    campaign_id uuid        not null,
    shard       integer     not null,
    ordinal     integer     not null,
    name        text        not null,
    quantity    bigint      not null,
    claimed     bigint      not null default 0,
    per_user    integer     not null,
    expires_at  timestamptz not null,
    opens_at    timestamptz,
    closes_at   timestamptz,
    created_at  timestamptz not null,
    constraint coupon_campaigns_pk primary key (campaign_id),
    constraint coupon_campaigns_ordinal_unique unique (ordinal),
    constraint coupon_campaigns_quantity_in_range check (quantity between 0 and 10000000000),
    constraint coupon_campaigns_claimed_in_range check (claimed between 0 and quantity)
);

create index coupon_campaigns_by_shard on coupon_campaigns (shard);
