//! What the document of the API says of every operation alike.

use utoipa::openapi::{OpenApi, RefOr, Response};

/// The document with a description of every answer, which the standard requires.
pub(super) fn described(mut document: OpenApi) -> OpenApi {
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
