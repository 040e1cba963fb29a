//! Idempotency keys and the answers that were given under them.

use headrace_model::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::Tx;
use crate::{Answer, AnswerKey, Claim};

/// Claims a key, or tells what it was used for.
pub(super) fn claim(
    db: &Connection,
    key: &AnswerKey,
    request: [u8; 32],
    now: Timestamp,
    forget: Timestamp,
) -> Tx<Claim> {
    db.prepare_cached("delete from idempotency where claimed_at < ?")?
        .execute([forget.as_micros()])?;
    let used = db
        .prepare_cached(
            "select request, status, body from idempotency
             where org = ? and endpoint = ? and key = ?",
        )?
        .query_row(
            params![key.org.0.as_bytes(), key.endpoint, key.key],
            |row| claimed(request, row),
        )
        .optional()?;
    match used {
        Some(claim) => Ok(claim),
        None => {
            db.prepare_cached(
                "insert into idempotency (org, endpoint, key, request, claimed_at)
                 values (?, ?, ?, ?, ?)",
            )?
            .execute(params![
                key.org.0.as_bytes(),
                key.endpoint,
                key.key,
                request,
                now.as_micros(),
            ])?;
            Ok(Claim::Yours)
        }
    }
}

/// Gives keys free whose claimants ended without an answer: no other process has this database.
pub(super) fn forget_unanswered(db: &Connection) -> Tx<()> {
    db.execute("delete from idempotency where body is null", [])?;
    Ok(())
}

/// Keeps the answer, or gives the key free.
pub(super) fn answer(db: &Connection, key: &AnswerKey, answer: Option<&Answer>) -> Tx<()> {
    let org = key.org.0.as_bytes();
    match answer {
        Some(Answer { status, body }) => db
            .prepare_cached(
                "update idempotency set status = ?, body = ?
                 where org = ? and endpoint = ? and key = ?",
            )?
            .execute(params![status, body, org, key.endpoint, key.key])?,
        None => db
            .prepare_cached(
                "delete from idempotency
                 where org = ? and endpoint = ? and key = ? and status is null",
            )?
            .execute(params![org, key.endpoint, key.key])?,
    };
    Ok(())
}

/// What a used key means for this request.
fn claimed(request: [u8; 32], row: &Row<'_>) -> rusqlite::Result<Claim> {
    if row.get::<_, [u8; 32]>(0)? != request {
        return Ok(Claim::OtherRequest);
    }
    match row.get(1)? {
        Some(status) => Ok(Claim::Answered(Answer {
            status,
            body: row.get(2)?,
        })),
        None => Ok(Claim::Running),
    }
}
