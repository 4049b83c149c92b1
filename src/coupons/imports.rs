//! Lists of coupons that others made, read as they come: in chunks of so many rows, each stored in one
//! transaction with the count of rows that are done and a digest that covers them. Who sends the same list
//! again goes on where that stands, so nothing is counted twice; where its rows are others, it is refused.
//!
//! A list is known by its `Idempotency-Key`, or, without one, by how it begins and how long it is.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt};
use sqlx::PgPool;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::codes::{self, Codes};
use super::csv::{Reader, Record, Row};
use super::model::{Import, ImportStarted};
use super::ops::missing;
use super::table;
use super::table::imports::{self, Chunk, NewCoupon, Progress};
use crate::app::AppState;
use crate::audit;
use crate::audit::model::Act;
use crate::error::{Code, Error};
use crate::http::identity::Actor;
use crate::http::upload::{self, Upload};
use crate::ids::{CampaignId, ImportId};
use crate::journal::{IdempotencyKey, Request};
use crate::metrics;

/// Rows that are stored together.
pub const CHUNK: i64 = 20_000;
/// How long an import stays with a run that does not get on with it.
const LEASE: Duration = Duration::from_secs(20);
/// Bytes that a list without a key is known by.
const BEGINNING: usize = 64 * 1024;
/// The longest list.
pub const BYTES_MAX: u64 = 1 << 30;
/// Namespace of imports' ids (UUID v5).
const IMPORTS: Uuid = Uuid::from_u128(0x6f6e_7275_7368_496d_b6a2_1f0c_6d58_e311);

/// Into what, and from where.
#[derive(Clone)]
pub struct Target {
    /// Postgres.
    pub pool: PgPool,
    /// Refuses codes that are ours.
    pub codes: Arc<Codes>,
    /// Of which campaign.
    pub campaign: CampaignId,
    /// What stands for it.
    pub ordinal: i32,
    /// When coupons expire that do not say so.
    pub expires_at: DateTime<Utc>,
    /// A key's operation, where one was sent.
    pub keyed: Option<Uuid>,
    /// Bytes to come, where that is known.
    pub length: Option<u64>,
    /// Who does it by role: the operation's id and name, and the act but for the import's id.
    pub act: Option<((Uuid, &'static str), Act)>,
}

/// Reads a list to its end. True when nothing was left to be done. `told` hears of each chunk: rows that are
/// done.
pub async fn run<S, E>(target: Target, body: S, told: impl Fn(i64)) -> Result<(ImportId, bool), Error>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    if target.length.is_some_and(|length| length > BYTES_MAX) {
        return Err(Error::refused(Code::BodyTooLarge));
    }
    let mut body = body.fuse();
    let mut beginning = Vec::new();
    let mut whole = false;
    while beginning.len() < BEGINNING && !whole {
        match body.next().await {
            Some(piece) => beginning.extend_from_slice(&piece.map_err(|_| cut_off())?),
            None => whole = true,
        }
    }
    let import = identity(&target, &beginning);
    let begun = begin(&target, import).await?;
    let progress = begun.ok_or_else(|| Error::refused(Code::IdempotencyInProgress))?;
    let was_done = progress.is_done;
    let (chunks, stored) = mpsc::channel(1);
    let storing = store(&target, progress.clone(), stored, told);
    let reading = async {
        let mut list = List::new(&target, chunks);
        list.feed(&beginning).await?;
        let mut bytes = beginning.len() as u64;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|_| cut_off())?;
            bytes += piece.len() as u64;
            if bytes > BYTES_MAX {
                return Err(Error::refused(Code::BodyTooLarge));
            }
            list.feed(&piece).await?;
        }
        list.finish().await
    };
    // Whichever fails ends the other: a reader without a store reads to the end, a store without a reader
    // ends.
    let both = async {
        let (read, stored) = tokio::join!(reading, storing);
        let seen = stored?;
        read?;
        // One that is shorter than what is done is another.
        if seen < progress.rows_read { Err(other_rows()) } else { Ok(()) }
    };
    let ended = tokio::select! {
        ended = both => ended,
        gone = keep(&target.pool, &progress) => Err(gone),
    };
    if !was_done {
        imports::end(&target.pool, &progress, ended.is_ok()).await?;
    }
    ended.map(|()| (import, was_done))
}

/// Begins, and writes down who did where it is the first time.
async fn begin(target: &Target, import: ImportId) -> Result<Option<Progress>, Error> {
    let mut tx = target.pool.begin().await?;
    let progress = imports::begin(&mut tx, import, target.ordinal, LEASE).await?;
    if let (Some(Progress { is_new: true, .. }), Some((name, act))) = (&progress, &target.act) {
        let act = Act { target: format!("{}/{import}", act.target), ..act.clone() };
        audit::table::record(&mut tx, *name, &act, None, chrono::Utc::now()).await?;
    }
    tx.commit().await?;
    Ok(progress)
}

/// The import stays ours while it is read, however long nothing is stored. Ends when it is not ours any more.
async fn keep(pool: &PgPool, progress: &Progress) -> Error {
    loop {
        tokio::time::sleep(LEASE / 4).await;
        match imports::keep(pool, progress, LEASE).await {
            Ok(true) => {}
            Ok(false) => return Error::refused(Code::IdempotencyInProgress),
            Err(error) => tracing::debug!(%error, "keeping an import"),
        }
    }
}

fn other_rows() -> Error {
    Error::because(
        Code::IdempotencyKeyReused,
        "An upload that was begun before had other rows; send this one with another key.",
    )
}

fn cut_off() -> Error {
    Error::because(Code::InvalidRequest, "The list was cut off; send it again to go on.")
}

fn identity(target: &Target, beginning: &[u8]) -> ImportId {
    if let Some(op) = target.keyed {
        return op.into();
    }
    let mut digest = Context::new(&SHA256);
    digest.update(&beginning[..beginning.len().min(BEGINNING)]);
    digest.update(target.campaign.uuid().as_bytes());
    digest.update(&target.length.unwrap_or_default().to_be_bytes());
    Uuid::new_v5(&IMPORTS, digest.finish().as_ref()).into()
}

/// Stores chunks as they come; those that are done are compared.
async fn store(
    target: &Target,
    mut progress: Progress,
    mut chunks: mpsc::Receiver<Chunk>,
    told: impl Fn(i64),
) -> Result<i64, Error> {
    let mut seen = 0;
    while let Some(chunk) = chunks.recv().await {
        seen += chunk.rows;
        if seen <= progress.rows_read {
            if seen == progress.rows_read && chunk.digest != progress.digest {
                return Err(other_rows());
            }
            told(seen);
            continue;
        }
        if seen - chunk.rows != progress.rows_read || progress.is_done {
            return Err(other_rows());
        }
        let inserted = imports::store(&target.pool, &progress, target.ordinal, &chunk, LEASE).await?;
        let inserted = inserted.ok_or_else(|| Error::refused(Code::IdempotencyInProgress))?;
        progress.rows_read += chunk.rows;
        progress.invalid += chunk.invalid.len() as i64;
        metrics::coupon("imported", inserted as u64);
        told(seen);
    }
    Ok(seen)
}

/// Makes chunks of what is read.
struct List<'a> {
    target: &'a Target,
    reader: Reader,
    chunk: Chunk,
    full: Vec<Chunk>,
    digest: Context,
    chunks: mpsc::Sender<Chunk>,
}

impl<'a> List<'a> {
    fn new(target: &'a Target, chunks: mpsc::Sender<Chunk>) -> Self {
        let digest = Context::new(&SHA256);
        Self { target, reader: Reader::new(), chunk: Chunk::default(), full: Vec::new(), digest, chunks }
    }

    async fn feed(&mut self, bytes: &[u8]) -> Result<(), Error> {
        // What a piece ends goes out before the next is looked at.
        for piece in bytes.chunks(BEGINNING) {
            let Self { target, reader, chunk, full, digest, .. } = self;
            let read = reader.feed(piece, &mut |record| add(target, chunk, full, digest, record));
            read.map_err(|why| Error::because(Code::InvalidRequest, why.to_string()))?;
            self.send().await?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), Error> {
        let Self { target, reader, chunk, full, digest, .. } = &mut self;
        let read = reader.finish(&mut |record| add(target, chunk, full, digest, record));
        read.map_err(|why| Error::because(Code::InvalidRequest, why.to_string()))?;
        if self.chunk.rows > 0 {
            close(&mut self.chunk, &mut self.full, &self.digest);
        }
        self.send().await
    }

    async fn send(&mut self) -> Result<(), Error> {
        for chunk in self.full.drain(..) {
            // Where nobody stores any more, the store says why.
            if self.chunks.send(chunk).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn add(target: &Target, chunk: &mut Chunk, full: &mut Vec<Chunk>, digest: &mut Context, record: Record) {
    chunk.rows += 1;
    match record {
        Record::Row(row) => {
            digest.update(row.code.as_bytes());
            let expires_ms = row.expires_at.map_or(i64::MIN, |time| time.timestamp_millis());
            digest.update(&expires_ms.to_be_bytes());
            match coupon(target, &row) {
                Ok(coupon) => chunk.coupons.push(coupon),
                Err(reason) => chunk.invalid.push((row.line as i64, reason)),
            }
        }
        Record::Invalid { line, reason } => {
            digest.update(reason.as_bytes());
            chunk.invalid.push((line as i64, reason));
        }
    }
    if chunk.rows == CHUNK {
        close(chunk, full, digest);
    }
}

fn close(chunk: &mut Chunk, full: &mut Vec<Chunk>, digest: &Context) {
    let mut chunk = std::mem::take(chunk);
    chunk.digest = digest.clone().finish().as_ref().to_vec();
    // Neighbours go to the same pages of the index; of two with one code the first stays the first.
    chunk.coupons.sort_by(|one, other| one.code.cmp(&other.code));
    full.push(chunk);
}

fn coupon(target: &Target, row: &Row) -> Result<NewCoupon, &'static str> {
    let code = codes::canonical(&row.code).ok_or("a code has 4 to 64 letters and digits")?;
    if target.codes.decode(&code).is_some() {
        return Err("it could be a code of ours");
    }
    let spelled = (row.code != code).then(|| row.code.clone());
    Ok(NewCoupon { code, spelled, expires_at: row.expires_at.unwrap_or(target.expires_at) })
}

/// Reads what a client sends, and goes on with it while he sends.
pub async fn receive(
    app: &AppState,
    by: &Actor,
    campaign: CampaignId,
    key: Option<IdempotencyKey>,
    upload: Upload,
) -> Result<(ImportStarted, bool), Error> {
    let request = Request::new(by.me.user, "coupons.import", campaign, &(), key);
    let mut pg = app.pool.acquire().await?;
    let (ordinal, expires_at) = table::ordinal(&mut pg, campaign).await?.ok_or_else(missing)?;
    drop(pg);
    let target = Target {
        pool: app.pool.clone(),
        codes: app.codes.clone(),
        campaign,
        ordinal,
        expires_at,
        keyed: request.key.is_some().then_some(request.op),
        length: upload.length(),
        act: Some((
            (request.op, request.operation),
            Act::new::<()>(by, format_args!("coupon-campaigns/{campaign}/imports"), None),
        )),
    };
    let limits = app.config.limits.clone();
    let running = app.tasks.spawn(async move {
        let mut pieces = upload.pieces(limits.body_timeout);
        let ended = run(target, &mut pieces, |_| {}).await;
        // A refusal that comes while the client sends would be lost with its connection.
        upload::drop_rest(&mut pieces, limits.body_bytes_max, limits.body_timeout).await;
        ended
    });
    let (import, was_done) = running.await.map_err(Error::internal)??;
    Ok((ImportStarted { import_id: import }, was_done))
}

/// How far an import is.
pub async fn get(pool: &PgPool, id: ImportId) -> Result<Import, Error> {
    imports::import(pool, id).await?.ok_or_else(|| Error::refused(Code::ImportNotFound))
}
