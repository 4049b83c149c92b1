//! What operators do with menus.

use serde_json::json;

use super::model::{Menu, MenuBody};
use super::table;
use crate::app::App;
use crate::audit;
use crate::audit::model::Act;
use crate::error::{Code, Error};
use crate::http::identity::Actor;
use crate::ids::{MenuId, Points};
use crate::journal::{IdempotencyKey, Request};

/// What becomes of a menu.
enum Write {
    Create(Menu),
    Change(Menu),
    Remove(MenuId),
}

/// Puts a thing on the menu.
pub async fn create(
    app: &App,
    by: &Actor,
    body: &MenuBody,
    key: Option<IdempotencyKey>,
) -> Result<(Menu, bool), Error> {
    let request = Request::new(by.me.user, "menus.create", "menus", body, key);
    made(write(app, by, &request, Write::Create(menu(MenuId::mint(), body)?)).await?)
}

/// Gives it another name or price; orders that are placed already keep theirs.
pub async fn change(
    app: &App,
    by: &Actor,
    id: MenuId,
    body: &MenuBody,
    key: Option<IdempotencyKey>,
) -> Result<(Menu, bool), Error> {
    let request = Request::new(by.me.user, "menus.change", id, body, key);
    made(write(app, by, &request, Write::Change(menu(id, body)?)).await?)
}

/// Takes it off. True when an earlier request with the same key did.
pub async fn remove(app: &App, by: &Actor, id: MenuId, key: Option<IdempotencyKey>) -> Result<bool, Error> {
    let request = Request::new(by.me.user, "menus.delete", id, &(), key);
    write(app, by, &request, Write::Remove(id)).await.map(|(_, replayed)| replayed)
}

fn menu(menu_id: MenuId, body: &MenuBody) -> Result<Menu, Error> {
    let price = Points::new(body.price).ok_or_else(|| Error::invalid("price", "is out of range"))?;
    Ok(Menu { menu_id, name: body.name.clone(), price })
}

fn made((menu, replayed): (Option<Menu>, bool)) -> Result<(Menu, bool), Error> {
    menu.map(|menu| (menu, replayed)).ok_or_else(|| Error::internal("a menu that was made is not there"))
}

/// In one transaction: the menu, the line in the audit log, the record of the key.
async fn write(
    app: &App,
    by: &Actor,
    request: &Request,
    write: Write,
) -> Result<(Option<Menu>, bool), Error> {
    let (id, status, after) = match &write {
        Write::Create(menu) => (menu.menu_id, 201, Some(menu)),
        Write::Change(menu) => (menu.menu_id, 200, Some(menu)),
        Write::Remove(id) => (*id, 204, None),
    };
    let (act, name) = (Act::new(by, format_args!("menus/{id}"), after), (request.op, request.operation));
    let once = app.journal.once(request, status, |pg| {
        Box::pin(async move {
            let (before, at) = match &write {
                Write::Create(menu) => (None, table::insert(pg, menu).await?),
                Write::Change(menu) => found(table::change(pg, menu).await?)?,
                Write::Remove(id) => found(table::remove(pg, *id).await?)?,
            };
            let before = before.map(|before| json!({"name": before.name, "price": before.price}));
            audit::table::record(pg, name, &act, before, at).await?;
            let after = match write {
                Write::Create(menu) | Write::Change(menu) => Some(menu),
                Write::Remove(_) => None,
            };
            Ok(after)
        })
    });
    let done = once.await;
    app.board.changed(&app.pool).await;
    done
}

fn found<T>(changed: Option<(Menu, T)>) -> Result<(Option<Menu>, T), Error> {
    changed.map(|(before, at)| (Some(before), at)).ok_or_else(|| Error::refused(Code::MenuNotFound))
}
