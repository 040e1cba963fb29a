//! Idempotency keys and the answers that were given under them.

use headrace_model::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::error::Tx;
use crate::{Answer, AnswerKey, Claim};

/// Keys that are forgotten with one claim: one that follows a long rest must not take long.
const FORGOTTEN_AT_ONCE: u32 = 100;

/// Claims a key, or tells what it was used for.
pub(super) fn claim(
    db: &Connection,
    key: &AnswerKey,
    request: [u8; 32],
    now: Timestamp,
    forget: Timestamp,
) -> Tx<Claim> {
    let org = key.org.0.as_bytes();
    db.prepare_cached(
        "delete from idempotency
         where claimed_at < ?4 and org = ?1 and endpoint = ?2 and key = ?3",
    )?
    .execute(params![org, key.endpoint, key.key, forget.as_micros()])?;
    db.prepare_cached(
        "delete from idempotency where (org, endpoint, key) in
             (select org, endpoint, key from idempotency where claimed_at < ?
              order by claimed_at limit ?)",
    )?
    .execute(params![forget.as_micros(), FORGOTTEN_AT_ONCE])?;
    type Used = ([u8; 32], Option<u16>, Option<Vec<u8>>, i64);
    let used: Option<Used> = db
        .prepare_cached(
            "select request, status, body, claimed_at from idempotency
             where org = ? and endpoint = ? and key = ?",
        )?
        .query_row(params![org, key.endpoint, key.key], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    match used {
        Some((by, ..)) if by != request => Ok(Claim::OtherRequest),
        Some((_, None, _, since)) => Ok(Claim::Yours {
            since: Timestamp::from_micros(since),
        }),
        Some((_, Some(status), body, _)) => Ok(Claim::Answered(Answer {
            status,
            body: body.unwrap_or_default(),
        })),
        None => {
            db.prepare_cached(
                "insert into idempotency (org, endpoint, key, request, claimed_at)
                 values (?, ?, ?, ?, ?)",
            )?
            .execute(params![
                org,
                key.endpoint,
                key.key,
                request,
                now.as_micros()
            ])?;
            Ok(Claim::Yours { since: now })
        }
    }
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
