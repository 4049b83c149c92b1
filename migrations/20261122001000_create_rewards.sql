-- Rewards, as their shards' scripts made them. `taken` counts requests that were not rejected; the last wall
-- against giving out more than there is. Those that were deleted stay, for the requests that name them.
create table rewards (
    reward_id   uuid        not null,
    shard       integer     not null,
    version     bigint      not null,
    name        text        not null,
    type        text        not null,
    amount      bigint,
    campaign_id uuid,
    stock       bigint      not null,
    taken       bigint      not null default 0,
    created_at  timestamptz not null,
    deleted_at  timestamptz,
    constraint rewards_pk primary key (reward_id),
    constraint rewards_type_known check (type in ('POINTS', 'COUPON', 'ITEM')),
    constraint rewards_points_have_an_amount check ((type = 'POINTS') = (amount is not null)),
    constraint rewards_coupons_have_a_campaign check ((type = 'COUPON') = (campaign_id is not null)),
    constraint rewards_taken_in_range check (taken between 0 and stock)
);

create index rewards_by_shard on rewards (shard);
create index rewards_by_age on rewards (created_at desc, reward_id) where deleted_at is null;
