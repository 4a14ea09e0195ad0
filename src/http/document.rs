//! What the document of the API says of every operation alike.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi, RefOr, Response};

/// What a key is, for who makes a client.
const KEY: &str = "A key of the environment, where the service is started with --auth: `rf_…`.";

/// The document with how to say who is asking, and with a description of every answer, which the
/// standard requires.
pub(super) fn described(mut document: OpenApi) -> OpenApi {
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(KEY)).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("key", SecurityScheme::Http(scheme));
    // Without authentication no key is needed.
    let with_key = SecurityRequirement::new("key", Vec::<String>::new());
    document.security = Some(vec![with_key, SecurityRequirement::default()]);
    let items = document.paths.paths.values_mut();
    let operations = items.flat_map(|item| {
        [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
    });
    for (status, response) in operations.flat_map(|operation| &mut operation.responses.responses) {
        if let RefOr::T(Response { description, .. }) = response
            && description.is_empty()
        {
            *description = meaning(status).to_owned();
        }
    }
    document
}

fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "Done.",
        "207" => "Some of the lines were not done; each says whether it was, and why not.",
        "default" => "Not done, and why not.",
        _ => "Answered.",
    }
}
