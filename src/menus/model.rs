//! The words of menus.

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{MenuId, Points};
use crate::queue::model::is_name;

/// The most that one of a thing may cost.
pub const PRICE_MAX: i64 = 1_000_000_000;

/// `POST /v1/menus`, `PUT /v1/menus/{menuId}`.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
pub struct MenuBody {
    /// 1 to 200 characters.
    #[garde(length(chars, max = 200), custom(is_name))]
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// Points for one, 0..=1 000 000 000.
    #[garde(range(min = 0, max = PRICE_MAX))]
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    pub price: i64,
}

/// A thing on the menu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Menu {
    /// Its id.
    pub menu_id: MenuId,
    /// What it is called.
    pub name: String,
    /// Points for one.
    pub price: Points,
}
