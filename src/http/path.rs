//! Path words match in any letter case, with or without a slash at the end.

use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// Brings a path into the form that the routes have: words in lower case but for the
/// environment, which is a value, and no slash at the end.
pub(super) fn normalize(mut request: Request) -> Request {
    if let Some(uri) = normal(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

fn normal(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if !(path.ends_with('/') || path.bytes().any(|byte| byte.is_ascii_uppercase())) {
        return None;
    }
    let words: Vec<&str> = path.split('/').collect();
    if !words.get(1).is_some_and(|word| word.eq_ignore_ascii_case("api")) {
        return None;
    }
    let lowered = words.iter().enumerate().map(|(place, word)| {
        // "", "api", "environment", the environment, …
        if place == 3 { (*word).to_owned() } else { word.to_ascii_lowercase() }
    });
    let mut normal = lowered.collect::<Vec<_>>().join("/");
    while normal.len() > 1 && normal.ends_with('/') {
        normal.pop();
    }
    if let Some(query) = uri.query() {
        normal.push('?');
        normal.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(normal).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str, expected: &str) {
        let uri: Uri = given.parse().unwrap();
        assert_eq!(normal(&uri).unwrap_or(uri).to_string(), expected);
    }

    #[test]
    fn words_are_lowered_but_not_the_environment() {
        check("/API/Environment/DemO/Allocation/ALLOCATE/", "/api/environment/DemO/allocation/allocate");
        check("/api/environment/a%2FB/onHand?groupBy=Site", "/api/environment/a%2FB/onhand?groupBy=Site");
        check("/api/environment/demo/onhand", "/api/environment/demo/onhand");
        check("/docs/", "/docs/");
        check("/", "/");
    }
}
