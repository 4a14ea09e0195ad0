//! The console: one page and what it loads, as they are in the program. They are the same for
//! everyone; what they show, they ask the API for like any other client.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use uuid::Uuid;

use super::App;

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the console.
#[derive(Clone, Copy)]
struct File {
    path: &'static str,
    media_type: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($path:literal, $file:literal, $media_type:expr;)*) => {
        [$(File { path: $path, media_type: $media_type, text: include_str!(concat!("console/", $file)) }),*]
    };
}

const FILES: [File; 19] = files! {
    "/console", "index.html", "text/html; charset=utf-8";
    "/console/console.css", "console.css", "text/css; charset=utf-8";
    "/console/icon.svg", "icon.svg", "image/svg+xml";
    "/console/alerts.js", "alerts.js", SCRIPT;
    "/console/api.js", "api.js", SCRIPT;
    "/console/app.js", "app.js", SCRIPT;
    "/console/books.js", "books.js", SCRIPT;
    "/console/choice.js", "choice.js", SCRIPT;
    "/console/command.js", "command.js", SCRIPT;
    "/console/decimal.js", "decimal.js", SCRIPT;
    "/console/details.js", "details.js", SCRIPT;
    "/console/dom.js", "dom.js", SCRIPT;
    "/console/feed.js", "feed.js", SCRIPT;
    "/console/figures.js", "figures.js", SCRIPT;
    "/console/history.js", "history.js", SCRIPT;
    "/console/proposals.js", "proposals.js", SCRIPT;
    "/console/rows.js", "rows.js", SCRIPT;
    "/console/spark.js", "spark.js", SCRIPT;
    "/console/tree.js", "tree.js", SCRIPT;
};

/// What is held of whatever the page loads: only what the service itself serves, nothing that is
/// written into the page, and nobody shows it inside of another.
const POLICY: &str =
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes of the console.
pub(super) fn routes() -> Router<App> {
    // The page names what it loads from where it is, so that it works behind any proxy's path.
    let routes = Router::new().route("/console/", get(async || Redirect::permanent("../console")));
    FILES.into_iter().fold(routes, |routes, file| {
        // A name of the content: whoever has this one has all of it.
        let tag = format!("\"{}\"", Uuid::new_v5(&Uuid::NAMESPACE_URL, file.text.as_bytes()));
        routes.route(file.path, get(async move |headers: HeaderMap| answer(file, &tag, &headers)))
    })
}

fn answer(file: File, tag: &str, headers: &HeaderMap) -> Response<Body> {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let mut response = match known.is_some_and(|tags| tags.contains(tag)) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, file.media_type)], file.text).into_response(),
    };
    let fixed = [
        // A new program has new files of the same names, so whoever has one asks whether it is current.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let headers = response.headers_mut();
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.extend(HeaderValue::from_str(tag).map(|tag| (header::ETAG, tag)));
    response
}
