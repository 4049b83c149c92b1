//! The words of menus.

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::name::{is_name, name};
use crate::ids::{MenuId, Points};

/// The most that one of a thing may cost.
pub const PRICE_MAX: i64 = 1_000_000_000;

/// `POST /v1/menus`, `PUT /v1/menus/{menuId}`.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
pub struct MenuBody {
    /// 1 to 200 characters.
    #[garde(custom(is_name))]
    #[schema(schema_with = name)]
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
