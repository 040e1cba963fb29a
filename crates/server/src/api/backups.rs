//! `/v1/backup`: everything in one file, made while the server serves.
//!
//! The copy is made beside the data first: a caller who reads slowly holds back nobody.

use std::io;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::CanAdmin;
use super::error::{ApiError, Code};
use super::{App, Errors};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_backup))
}

/// What the copy is called, beside the data, until it is being read.
const COPY: &str = "headrace.db.backup";
/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;

/// Downloads a backup: one consistent copy of records, configuration and consumers, made while
/// everything goes on. `headrace restore` makes a data directory of it. The keys that open sealed
/// credentials are not in it. Where there are several organisations, only the token of
/// `HEADRACE_ADMIN_TOKEN` may.
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
    // On a task of its own: the copy is taken away again also when the caller has gone.
    let making = tokio::spawn(async move { make(&app).await });
    let (file, length) = match making.await {
        Ok(made) => made?,
        Err(_panicked) => {
            let summary = "the server failed; its log has the reason";
            return Err(ApiError::new(Code::Internal, summary));
        }
    };
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.sqlite3".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"headrace.backup\"".to_owned(),
        ),
    ];
    Ok((headers, Body::from_stream(pieces(file))).into_response())
}

/// Makes the copy and takes its name away: it is gone when nobody reads it any more.
async fn make(app: &App) -> Result<(File, u64), ApiError> {
    let copy = copy_in(&app.data_dir);
    app.engine.back_up(&copy).await?;
    let opened = async {
        let file = File::open(&copy).await;
        tokio::fs::remove_file(&copy).await?;
        let file = file?;
        let length = file.metadata().await?.len();
        Ok::<_, io::Error>((file, length))
    };
    opened.await.map_err(|error| {
        tracing::error!(%error, "could not read the backup that was made");
        ApiError::new(Code::Internal, "the server failed; its log has the reason")
    })
}

/// Removes a copy that the last process had not taken away.
pub(crate) fn remove_left_over(data_dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(copy_in(data_dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn copy_in(data_dir: &Path) -> PathBuf {
    data_dir.join(COPY)
}

fn pieces(file: File) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(file, |mut file| async move {
        let mut piece = Vec::with_capacity(PIECE);
        let read = (&mut file)
            .take(PIECE as u64)
            .read_to_end(&mut piece)
            .await?;
        Ok((read > 0).then(|| (Bytes::from(piece), file)))
    })
}
