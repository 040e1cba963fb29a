//! `/v1/backup`: everything in one file, made while the server serves.
//!
//! The copy is made beside the data first: a caller who reads slowly holds back nobody but those who
//! want a backup too.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use headrace_engine::BackupTurn;
use headrace_engine::clock::random;
use tempfile::TempPath;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::CanAdmin;
use super::error::{ApiError, Code};
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_backup))
}

/// What the copy is a draft of: it never gets this name.
const COPY: &str = "headrace.db.copy";
/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;

/// Downloads a backup: one consistent copy of records, configuration and consumers, made while
/// everything goes on. `headrace restore` makes a data directory of it. The keys that open sealed
/// credentials are not in it. Where there are several organisations, only the token of
/// `HEADRACE_ADMIN_TOKEN` may. One backup is made and downloaded at a time.
#[utoipa::path(get, path = "/v1/backup", tag = "health",
    responses((status = 200, content_type = "application/vnd.sqlite3", body = String), Errors))]
async fn get_backup(
    CanAdmin(caller): CanAdmin,
    State(app): State<App>,
) -> Result<Response, ApiError> {
    if !app.engine.may_back_up(&caller).await? {
        let summary = "a backup holds every organisation: use the token of HEADRACE_ADMIN_TOKEN";
        return Err(ApiError::new(Code::Forbidden, summary));
    }
    let copy = make(&app).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.sqlite3".to_owned()),
        (header::CONTENT_LENGTH, copy.length.to_string()),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"headrace.backup\"".to_owned(),
        ),
    ];
    Ok((headers, Body::from_stream(pieces(copy))).into_response())
}

/// A copy that has no name any more: it is gone when nobody reads it.
struct Copy {
    file: Arc<File>,
    read: u64,
    length: u64,
    turn: Option<BackupTurn>,
    stopping: CancellationToken,
}

impl Drop for Copy {
    fn drop(&mut self) {
        let (file, turn) = (Arc::clone(&self.file), self.turn.take());
        let stopping = self.stopping.clone();
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        runtime.spawn_blocking(move || {
            if let Err(error) = headrace_store::give_back(&file, || stopping.is_cancelled()) {
                tracing::warn!(%error, "the room of a backup was not given back in steps");
            }
            // Only now is there room for another one.
            drop((file, turn));
        });
    }
}

async fn make(app: &App) -> Result<Copy, ApiError> {
    let name = format!("{COPY}.{}.part", Uuid::from_bytes(random()).simple());
    // Removed whatever happens, and also when the caller goes.
    let copy = TempPath::try_from_path(app.data_dir.join(name)).map_err(failed)?;
    let turn = app.engine.back_up(&copy).await?;
    let file = File::options().read(true).write(true).open(&copy);
    let file = file.map_err(failed)?;
    copy.close().map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    Ok(Copy {
        file: Arc::new(file),
        read: 0,
        length,
        turn: Some(turn),
        stopping: app.engine.stopping().clone(),
    })
}

fn failed(error: io::Error) -> ApiError {
    tracing::error!(%error, "could not keep a backup beside the data");
    ApiError::new(Code::Internal, "the server failed; its log has the reason")
}

/// Removes copies that a process which was killed had not taken away.
pub(crate) fn remove_left_over(data_dir: &Path) -> io::Result<()> {
    headrace_store::remove_drafts(&data_dir.join(COPY))
}

fn pieces(copy: Copy) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(copy, |mut copy| async move {
        let (file, at) = (Arc::clone(&copy.file), copy.read);
        let reading = tokio::task::spawn_blocking(move || piece(&file, at));
        let piece = reading.await.map_err(io::Error::other)??;
        copy.read += piece.len() as u64;
        Ok((!piece.is_empty()).then_some((piece, copy)))
    })
}

fn piece(mut file: &File, at: u64) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE);
    file.seek(SeekFrom::Start(at))?;
    file.take(PIECE as u64).read_to_end(&mut piece)?;
    Ok(Bytes::from(piece))
}
