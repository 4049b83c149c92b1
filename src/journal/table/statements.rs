//! What a round says to Postgres: statements of many tables, made in one call or one by one.
//!
//! A round trip costs more than most statements: the instance has others to serve before it notices that an
//! answer came, and Postgres waits meanwhile. So the statements of a round become functions of the
//! connection's own (`pg_temp`, made when one is needed for the first time), and one `select` calls them in
//! order: one round trip, one transaction. Where the database allows no such functions, or where the round
//! has to look between its statements, each is made by itself.

use std::collections::HashSet;
use std::fmt::Write;

use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, AssertSqlSafe, Encode, PgConnection, Postgres, Row, Type, TypeInfo};

use crate::error::Error;

/// Postgres' code for a statement that changed another number of rows than it should.
const OTHERWISE: &str = "ON001";

struct Said {
    name: &'static str,
    text: &'static str,
    types: Vec<String>,
    /// How many rows must change.
    rows: Option<usize>,
}

/// Statements in their order.
pub struct Statements {
    said: Vec<Said>,
    /// Of all statements, or of each.
    arguments: Vec<PgArguments>,
    together: bool,
    failed: Option<BoxDynError>,
}

impl Statements {
    /// They will be made in one call.
    pub fn together() -> Self {
        Self { said: Vec::new(), arguments: vec![PgArguments::default()], together: true, failed: None }
    }

    /// Each will be made by itself.
    pub fn each() -> Self {
        Self { said: Vec::new(), arguments: Vec::new(), together: false, failed: None }
    }

    /// One more; its arguments follow, in the order of `$1`, `$2`, … No other statement has its name.
    pub fn say(&mut self, name: &'static str, text: &'static str) -> &mut Self {
        self.said.push(Said { name, text, types: Vec::new(), rows: None });
        if !self.together {
            self.arguments.push(PgArguments::default());
        }
        self
    }

    /// The next argument.
    pub fn bind<'q, T>(&mut self, value: T) -> &mut Self
    where
        T: Encode<'q, Postgres> + Type<Postgres>,
    {
        if let (Some(said), Some(arguments)) = (self.said.last_mut(), self.arguments.last_mut()) {
            said.types.push(T::type_info().name().to_owned());
            let added = arguments.add(value);
            self.failed = self.failed.take().or(added.err());
        }
        self
    }

    /// The statement must change so many rows, or none of the round is done. For those of one call.
    pub fn must_change(&mut self, rows: usize) {
        self.bind(rows as i64);
        if let Some(said) = self.said.last_mut() {
            said.rows = Some(rows);
        }
    }

    /// Makes each by itself, in order.
    pub async fn make(self, pg: &mut PgConnection) -> Result<(), Error> {
        self.fetch(pg).await.map(drop)
    }

    /// The same, and what they return.
    pub async fn fetch(self, pg: &mut PgConnection) -> Result<Vec<PgRow>, Error> {
        if let Some(error) = self.failed {
            return Err(Error::internal(error));
        }
        let mut rows = Vec::new();
        for (said, arguments) in self.said.iter().zip(self.arguments) {
            rows.append(&mut sqlx::query_with(said.text, arguments).fetch_all(&mut *pg).await?);
        }
        Ok(rows)
    }

    /// Makes all in one call, which is a transaction. False when one of them would have changed another
    /// number of rows than it should; then nothing has changed.
    pub async fn make_together(self, pg: &mut PgConnection, known: &mut Functions) -> Result<bool, Error> {
        if let Some(error) = self.failed {
            return Err(Error::internal(error));
        }
        let (mut call, mut bound) = (String::from("select "), 0);
        for (at, said) in self.said.iter().enumerate() {
            known.make(pg, said).await?;
            let comma = if at == 0 { "" } else { ", " };
            let numbers = (bound + 1..=bound + said.types.len()).map(|number| format!("${number}"));
            let arguments = numbers.collect::<Vec<_>>().join(", ");
            bound += said.types.len();
            // A String takes whatever is written.
            let _ = write!(call, "{comma}pg_temp.{}({arguments})", said.name);
        }
        let arguments = self.arguments.into_iter().next().unwrap_or_default();
        // Only names of statements and numbers are in it.
        match sqlx::query_with(AssertSqlSafe(call), arguments).execute(pg).await {
            Ok(_) => Ok(true),
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(OTHERWISE) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The functions that a connection has.
#[derive(Debug, Default)]
pub struct Functions(HashSet<&'static str>);

impl Functions {
    /// Of a new connection; `None` where the database allows none.
    pub async fn of(pg: &mut PgConnection) -> Result<Option<Self>, Error> {
        let row = sqlx::query("select has_database_privilege(current_database(), 'TEMPORARY')");
        let allowed: bool = row.fetch_one(pg).await?.try_get(0)?;
        Ok(allowed.then(Self::default))
    }

    async fn make(&mut self, pg: &mut PgConnection, said: &Said) -> Result<(), Error> {
        let Said { name, text, types, rows } = said;
        if self.0.contains(name) {
            return Ok(());
        }
        let check = rows.map_or_else(String::new, |_| {
            format!(
                "get diagnostics changed = row_count;
                 if changed <> ${} then raise exception 'otherwise' using errcode = '{OTHERWISE}'; end if;",
                types.len()
            )
        });
        // What a query returns nobody reads.
        let query = text.strip_prefix("select ").map(|rest| format!("perform {rest}"));
        let text = query.as_deref().unwrap_or(text);
        let make = format!(
            "create or replace function pg_temp.{name}({}) returns void language plpgsql as $function$
             declare changed bigint;
             begin {text}; {check} end $function$",
            types.join(", ")
        );
        // All of it stands in this program.
        sqlx::query(AssertSqlSafe(make)).persistent(false).execute(pg).await?;
        self.0.insert(name);
        Ok(())
    }
}
