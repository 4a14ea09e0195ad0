//! Lists that are read page by page: answered whole as they are read, or one page of them.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use sqlx::PgConnection;

use crate::domain::name::Value;
use crate::store::{self, Readers, Sight, StoreError};

use super::around::in_current_request;
use super::commands::json;
use super::onhand_query::Parameters;
use super::onhand_records::STREAM_TIME_MAX;
use super::problem::Problem;
use super::stream::{Gone, Writer, channel};
use super::{App, Environment};

/// Items that are read at once.
const READ_MAX: usize = 1_000;

/// What lists are made of. Its key is an organization and a product.
pub(super) trait Listed: Serialize + Send + Sync + 'static {
    /// Where it is in the list.
    fn key(&self) -> [&str; 2];

    /// Reads those behind a key, in order.
    fn page(
        connection: &mut PgConnection,
        environment: &str,
        after: [&str; 2],
        most: i64,
    ) -> impl Future<Output = Result<Vec<Self>, StoreError>> + Send
    where
        Self: Sized;
}

/// Answers a list of an environment.
pub(super) async fn answer<T: Listed>(
    app: &App,
    environment: Environment,
    query: Option<&str>,
) -> Result<Response<Body>, Problem> {
    let mut parameters = Parameters::read(query);
    let page = parameters.page(query);
    parameters.finish()?;
    let after = match &page.after {
        None => Ok([String::new(), String::new()]),
        Some(texts) => <[String; 2]>::try_from(texts.clone()),
    };
    let after = after.map_err(|_| Problem::invalid("/after", "is not from the page before"))?;
    let Some(limit) = page.limit else {
        let (writer, reader) = channel();
        tokio::spawn(in_current_request(run::<T>(app.readers.clone(), environment.id, after, writer)));
        let mut response = Response::new(reader.body().await?);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return Ok(response);
    };
    let mut items: Vec<T> = read(&app.readers, &environment.id, &after, limit + 1).await?;
    let is_more = items.len() > limit;
    items.truncate(limit);
    let mut response = json(StatusCode::OK, &items);
    let last = items.last().filter(|_| is_more);
    if let Some(link) = last.and_then(|last| page.next(&last.key())) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

async fn read<T: Listed>(
    readers: &Readers,
    environment: &Value,
    after: &[String; 2],
    most: usize,
) -> Result<Vec<T>, StoreError> {
    let after = [after[0].as_str(), after[1].as_str()];
    store::read(readers, Sight::Of(environment.as_str()), async |connection| {
        T::page(connection, environment.as_str(), after, most as i64).await
    })
    .await
}

/// Writes a list to its end, or cuts it off.
async fn run<T: Listed>(readers: Readers, environment: Value, after: [String; 2], mut writer: Writer) {
    let written =
        tokio::time::timeout(STREAM_TIME_MAX, write::<T>(&readers, &environment, after, &mut writer)).await;
    match written {
        Ok(Ok(())) => writer.end().await,
        Ok(Err(Some(error))) => writer.fail(error.into()).await,
        Ok(Err(None)) => {}
        Err(_) => writer.fail(Problem::Overloaded).await,
    }
}

/// Fails with nothing when there is no client any more.
async fn write<T: Listed>(
    readers: &Readers,
    environment: &Value,
    mut after: [String; 2],
    writer: &mut Writer,
) -> Result<(), Option<StoreError>> {
    let mut separator = b'[';
    loop {
        let items: Vec<T> = read(readers, environment, &after, READ_MAX).await.map_err(Some)?;
        for item in &items {
            writer.buffer().push(std::mem::replace(&mut separator, b','));
            // A structure of strings always becomes JSON.
            let _ = serde_json::to_writer(writer.buffer(), item);
        }
        match items.last().filter(|_| items.len() == READ_MAX) {
            Some(last) => after = last.key().map(str::to_owned),
            None => break,
        }
        writer.flush().await.map_err(|Gone| None)?;
    }
    if separator == b'[' {
        writer.buffer().push(b'[');
    }
    writer.buffer().push(b']');
    Ok(())
}
