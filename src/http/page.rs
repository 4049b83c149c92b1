//! Lists: `?limit=1..100&cursor=`, newest first, `{"items":[…],"nextCursor":…}`.

use std::borrow::Cow;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use crate::app::AppState;
use crate::error::Error;

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 100;

/// One page of a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

// By hand: the derived schema is called `Page` for every kind of item, so the last one would stand for all.
impl<T: ToSchema> PartialSchema for Page<T> {
    fn schema() -> RefOr<Schema> {
        let cursor = SchemaType::from_iter([Type::String, Type::Null]);
        let items = ArrayBuilder::new().items(Ref::from_schema_name(T::name()));
        ObjectBuilder::new()
            .description(Some("One page of a list."))
            .property("items", items.description(Some("Newest first.")))
            .property(
                "nextCursor",
                ObjectBuilder::new()
                    .schema_type(cursor)
                    .description(Some("Where the next page begins; null on the last.")),
            )
            .required("items")
            .required("nextCursor")
            .into()
    }
}

impl<T: ToSchema> ToSchema for Page<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Page", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

/// Which page is asked for.
#[derive(Clone, Debug)]
pub struct PageRequest {
    limit: usize,
    after: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
    limit: Option<String>,
    cursor: Option<String>,
}

impl FromRequestParts<AppState> for PageRequest {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Error> {
        let raw = Query::<Raw>::from_request_parts(parts, app).await;
        let Query(raw) = raw.map_err(|_| Error::invalid("query", "is not a query string"))?;
        Self::new(raw.limit.as_deref(), raw.cursor.as_deref())
    }
}

impl PageRequest {
    fn new(limit: Option<&str>, cursor: Option<&str>) -> Result<Self, Error> {
        let limit = limit.map_or(Some(LIMIT_DEFAULT), |text| text.parse().ok());
        let limit = limit.filter(|limit| (1..=LIMIT_MAX).contains(limit));
        let limit =
            limit.ok_or_else(|| Error::invalid("limit", format!("must be between 1 and {LIMIT_MAX}")))?;
        let after = match cursor.filter(|cursor| !cursor.is_empty()) {
            None => None,
            Some(cursor) => {
                let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
                Some(bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(bad_cursor)?)
            }
        };
        Ok(Self { limit, after })
    }

    /// Rows to fetch: one more than asked for tells whether there is a next page.
    pub fn fetch(&self) -> i64 {
        self.limit as i64 + 1
    }

    /// The cursor as the id of the last item that was seen.
    pub fn after_id(&self) -> Result<Option<Uuid>, Error> {
        self.after.as_deref().map(|text| text.parse().map_err(|_| bad_cursor())).transpose()
    }

    /// The cursor as a number.
    pub fn after_number(&self) -> Result<Option<i64>, Error> {
        self.after.as_deref().map(|text| text.parse().map_err(|_| bad_cursor())).transpose()
    }

    /// The cursor as a pair of numbers.
    pub fn after_pair(&self) -> Result<Option<(i64, i64)>, Error> {
        let pair = |text: &str| {
            let (first, second) = text.split_once('-')?;
            Some((first.parse().ok()?, second.parse().ok()?))
        };
        self.after.as_deref().map(|text| pair(text).ok_or_else(bad_cursor)).transpose()
    }

    /// The cursor as a time in microseconds and a word.
    pub fn after_time(&self) -> Result<Option<(DateTime<Utc>, String)>, Error> {
        let read = |text: &str| {
            let (micros, word) = text.split_once(' ')?;
            let time = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
            let fits =
                (1970..=9999).contains(&time.year()) && word.bytes().all(|byte| byte.is_ascii_graphic());
            fits.then(|| (time, word.to_owned()))
        };
        self.after.as_deref().map(|text| read(text).ok_or_else(bad_cursor)).transpose()
    }

    /// The cursor as a time in microseconds and an id.
    pub fn after_time_and_id(&self) -> Result<Option<(DateTime<Utc>, Uuid)>, Error> {
        let read = |(at, word): (DateTime<Utc>, String)| Ok((at, word.parse().map_err(|_| bad_cursor())?));
        self.after_time()?.map(read).transpose()
    }

    /// The same page, with no more than so many items: those that follow are on the next.
    pub fn at_most(&self, limit: usize) -> Self {
        Self { limit: self.limit.min(limit), after: self.after.clone() }
    }

    /// Makes the page of rows that were fetched.
    pub fn cut<R, T>(
        &self,
        mut rows: Vec<R>,
        cursor: impl Fn(&R) -> Result<String, Error>,
        item: impl Fn(&R) -> Result<T, Error>,
    ) -> Result<Page<T>, Error> {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let last = rows.last().filter(|_| more).map(cursor).transpose()?;
        let items = rows.iter().map(item).collect::<Result<_, _>>()?;
        Ok(Page { items, next_cursor: last.map(|text| URL_SAFE_NO_PAD.encode(text)) })
    }
}

fn bad_cursor() -> Error {
    Error::invalid("cursor", "is not a cursor of this list")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_where_the_next_begins() {
        let request = PageRequest::new(Some("2"), None).unwrap();
        let page = |rows| request.cut(rows, |row: &i32| Ok(row.to_string()), |row| Ok(*row)).unwrap();
        assert_eq!(page(vec![3, 2]).next_cursor, None);
        let first = page(vec![3, 2, 1]);
        assert_eq!(first.items, [3, 2]);
        let next = PageRequest::new(None, first.next_cursor.as_deref()).unwrap();
        assert_eq!(next.after.as_deref(), Some("2"));
    }

    #[test]
    fn limits_and_cursors_out_of_range_are_refused() {
        for limit in ["0", "101", "-1", "x", ""] {
            assert!(PageRequest::new(Some(limit), None).is_err(), "{limit:?}");
        }
        assert!(PageRequest::new(None, Some("***")).is_err());
        let wrong = PageRequest::new(None, Some(&URL_SAFE_NO_PAD.encode("x"))).unwrap();
        assert!(wrong.after_id().is_err() && wrong.after_pair().is_err());
        for wrong in ["x", "1", "x y", "0 \0", "-300000000000000000 A", "1 a b", "9000000000000000000 A"] {
            let wrong = PageRequest::new(None, Some(&URL_SAFE_NO_PAD.encode(wrong))).unwrap();
            assert!(wrong.after_time().is_err(), "{wrong:?}");
        }
    }
}
