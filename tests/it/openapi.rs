//! The document of the API: the file, the program and the service say the same.

use super::support::Service;

#[test]
fn the_file_is_what_the_code_says() {
    let generated = ringfence::http::openapi_yaml().unwrap();
    let difference = include_str!("../../openapi.yaml").lines().zip(generated.lines()).find(|(a, b)| a != b);
    assert!(
        include_str!("../../openapi.yaml") == generated,
        "openapi.yaml is out of date; write it anew: cargo run -- openapi > openapi.yaml (file, code: {difference:?})"
    );
}

#[tokio::test]
async fn the_service_serves_it() {
    let service = Service::start().await;
    let answer = service.get("/openapi.yaml").await;
    assert_eq!((answer.status, answer.text.as_str()), (200, include_str!("../../openapi.yaml")));
    let paths = service.get("/openapi.json").await.json()["paths"].clone();
    assert!(paths.get("/api/environment/{environmentId}/allocation/allocate").is_some(), "{paths}");
    assert_eq!(service.get("/docs/").await.status, 200);
    service.stop().await;
}
