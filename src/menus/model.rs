//! The words of menus.

use serde::Serialize;
use utoipa::ToSchema;

use crate::ids::{MenuId, Points};

/// A thing on the menu.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Menu {
    /// Its id.
    pub menu_id: MenuId,
    /// What it is called.
    pub name: String,
    /// Points for one.
    pub price: Points,
}
