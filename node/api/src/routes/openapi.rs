//! The list of routes for programs. It has paths, methods and parameters; the documents' fields are described where
//! they are defined, in the port.

use super::{Route, all};
use crate::answer::Answer;
use axum::{
    body::Body,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::Response,
    routing::get,
};
use serde_json::{Map, Value, json};

pub(super) const ROUTES: &[Route] = &[Route::new(
    "GET",
    "/v1/openapi.json",
    "This list of routes",
    || get(openapi),
)];

async fn openapi() -> Answer {
    let mut paths = Map::new();
    for route in all() {
        let parameters: Vec<Value> = route
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        let path = paths
            .entry(route.path)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(path) = path.as_object_mut() {
            path.insert(
                route.method.to_ascii_lowercase(),
                json!({
                    "summary": route.about,
                    "parameters": parameters,
                    "responses": {"200": {"description": "done"}, "default": {"description": "refused: error.code, error.message, error.hint"}},
                }),
            );
        }
    }
    let text = json!({
        "openapi": "3.1.0",
        "info": {"title": "hivenode local API", "version": "1"},
        "paths": paths,
    });
    let mut response = Response::new(Body::from(text.to_string()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
