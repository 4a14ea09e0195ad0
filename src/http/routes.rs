//! Which route a path belongs to, for what is measured of requests. The router knows it too, but
//! tells only what is inside of it.

use hashbrown::HashMap;
use utoipa::openapi::OpenApi as Document;

const ENVIRONMENTS: &str = "/api/environment/";
/// What is served and not in the document. `{}` stands for a word, `{*}` for any at the end.
const PAGES: [&str; 8] = [
    "/metrics",
    "/console",
    "/console/{*}",
    "/problems/{code}",
    "/openapi.yaml",
    "/openapi.json",
    "/docs",
    "/docs/{*}",
];

/// All routes, as the document writes them.
pub(super) struct Routes {
    /// By what follows the environment, or by the whole path where there is none.
    exact: HashMap<&'static str, &'static str>,
    with_words: Vec<(Vec<&'static str>, &'static str)>,
}

impl Routes {
    /// The routes of a document. It is kept for as long as the process runs.
    pub(super) fn of(document: &Document) -> Routes {
        let documented = document.paths.paths.keys().map(|path| &*String::leak(path.clone()));
        let mut routes = Routes { exact: HashMap::new(), with_words: Vec::new() };
        for route in documented.chain(PAGES) {
            let rest = rest(route);
            match rest.contains('{') {
                true => routes.with_words.push((rest.split('/').collect(), route)),
                false => _ = routes.exact.insert(rest, route),
            }
        }
        routes
    }

    /// The route of a path in its normal form; empty where there is none.
    pub(super) fn find(&self, path: &str) -> &'static str {
        let rest = rest(path);
        if let Some(route) = self.exact.get(rest) {
            return route;
        }
        let words: Vec<&str> = rest.split('/').collect();
        let found = self.with_words.iter().find(|(pattern, _)| matches(pattern, &words));
        found.map_or("", |(_, route)| route)
    }
}

/// What follows the environment. It is without a slash before, which no other path is.
fn rest(path: &str) -> &str {
    let Some(of_environment) = path.strip_prefix(ENVIRONMENTS) else { return path };
    of_environment.split_once('/').map_or("", |(_, rest)| rest)
}

fn matches(pattern: &[&str], words: &[&str]) -> bool {
    if let [before @ .., "{*}"] = pattern {
        return words.len() >= before.len() && words.starts_with(before);
    }
    pattern.len() == words.len()
        && pattern.iter().zip(words).all(|(part, word)| part.starts_with('{') || part == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_route_that_the_document_has() {
        let routes = Routes::of(&super::super::openapi());
        for (path, route) in [
            (
                "/api/environment/demo/allocation/consume",
                "/api/environment/{environmentId}/allocation/consume",
            ),
            ("/api/environment/a%2Fb/onhand", "/api/environment/{environmentId}/onhand"),
            (
                "/api/environment/demo/setonhand/pos/bulk",
                "/api/environment/{environmentId}/setonhand/{dataSource}/bulk",
            ),
            ("/healthz", "/healthz"),
            ("/problems/internal", "/problems/{code}"),
            ("/docs/index.html", "/docs/{*}"),
            ("/api/environment/demo/no/such", ""),
            ("/api/environment/demo", ""),
            ("/onhand", ""),
        ] {
            assert_eq!(routes.find(path), route, "{path}");
        }
    }
}
