//! URLs of coupons.

use serde_json::json;

use crate::error::Code::*;
use crate::http::api::Who::*;
use crate::http::api::{Api, delete, get, post, put};
use crate::http::page::Page;

/// Their rows.
pub fn api(api: Api) -> Api {
    use crate::coupons::model::{AssignCoupon, CreateCoupons, CreatedCoupons, Import, ImportStarted};
    use crate::coupons::model::{
        Batch, BatchStarted, Campaign, Claimed, Coupon, CreateBatch, CreateCampaign,
    };
    use crate::coupons::routes as handlers;
    let (text, date) = (json!({"type": "string"}), json!({"type": "string", "format": "date"}));
    let user = json!({"type": "string", "format": "uuid"});
    let lifecycle = [CouponNotFound, CouponExpired, CouponState];
    api.section(
        "Coupons",
        [
            post(
                Operators,
                "/v1/coupon-campaigns",
                "Make a campaign, of any size",
                handlers::create_campaign,
            )
            .takes::<CreateCampaign>()
            .answers::<Campaign>(201),
            get(Anyone, "/v1/coupon-campaigns", "List campaigns", handlers::campaigns)
                .paged()
                .answers::<Page<Campaign>>(200),
            get(Anyone, "/v1/coupon-campaigns/{campaignId}", "A campaign in numbers", handlers::campaign)
                .answers::<Campaign>(200)
                .refuses(&[CampaignNotFound]),
            post(
                SignedIn,
                "/v1/coupon-campaigns/{campaignId}/claims",
                "Claim a coupon, first come first served",
                handlers::claim,
            )
            .needs_key()
            .answers::<Claimed>(201)
            .refuses(&[CampaignNotFound, CampaignNotOpen, CouponAlreadyClaimed, CouponSoldOut]),
            post(
                Operators,
                "/v1/coupon-campaigns/{campaignId}/batches",
                "Begin to generate coupons that are nobody's yet",
                handlers::begin_batch,
            )
            .needs_key()
            .takes::<CreateBatch>()
            .answers::<BatchStarted>(202)
            .refuses(&[CampaignNotFound]),
            get(Operators, "/v1/coupon-batches/{batchId}", "How far a batch is", handlers::batch)
                .answers::<Batch>(200)
                .refuses(&[NotFound]),
            get(
                Operators,
                "/v1/coupon-batches/{batchId}/codes",
                "Its codes as a stream",
                handlers::batch_codes,
            )
            .answers_with(200, "text/csv", text.clone())
            .answers_with(200, "application/x-ndjson", text.clone())
            .refuses(&[NotFound]),
            post(
                Operators,
                "/v1/coupon-campaigns/{campaignId}/imports",
                "Import a list of codes, or go on with it",
                handlers::import,
            )
            .takes_stream("text/csv")
            .answers::<ImportStarted>(202)
            .refuses(&[CampaignNotFound]),
            get(Operators, "/v1/coupon-imports/{importId}", "How far an import is", handlers::get_import)
                .answers::<Import>(200)
                .refuses(&[ImportNotFound]),
            post(Operators, "/v1/coupons", "Make coupons that are nobody's yet", handlers::generate)
                .needs_key()
                .takes::<CreateCoupons>()
                .answers::<CreatedCoupons>(201)
                .refuses(&[CampaignNotFound]),
            get(SignedIn, "/v1/coupons", "List one's coupons; an operator may name a user", handlers::list)
                .paged()
                .query("userId", false, user)
                .answers::<Page<Coupon>>(200)
                .refuses(&[Forbidden]),
            get(
                Operators,
                "/v1/coupons/expiring",
                "Coupons that somebody holds and that expire on a day",
                handlers::expiring,
            )
            .paged()
            .query("date", false, date)
            .answers::<Page<Coupon>>(200)
            .answers_with(200, "text/csv", text.clone())
            .answers_with(200, "application/x-ndjson", text),
            get(SignedIn, "/v1/coupons/{code}", "A coupon", handlers::get)
                .answers::<Coupon>(200)
                .refuses(&[CouponNotFound]),
            put(SignedIn, "/v1/coupons/{code}/use", "Use it", handlers::use_coupon)
                .answers::<Coupon>(200)
                .refuses(&lifecycle),
            delete(SignedIn, "/v1/coupons/{code}/use", "Take the use back", handlers::cancel_use)
                .answers::<Coupon>(200)
                .refuses(&lifecycle),
            put(Operators, "/v1/coupons/{code}/assign", "Give it to a user", handlers::assign)
                .takes::<AssignCoupon>()
                .answers::<Coupon>(200)
                .refuses(&lifecycle)
                .refuses(&[UserNotFound]),
            delete(Operators, "/v1/coupons/{code}", "Take it away", handlers::delete)
                .answers_nothing(204)
                .refuses(&lifecycle),
        ],
    )
}
