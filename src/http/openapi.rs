//! The OpenAPI 3.1 document, made from the table of routes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema};

use super::api::{Api, Key, Route, Success, Who};
use super::problem::Problem;
use crate::error::Code;

/// The whole document.
pub fn document(api: &Api) -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
    let mut own = vec![(Problem::name().into_owned(), Problem::schema())];
    Problem::schemas(&mut own);
    for (name, schema) in api.routes.iter().flat_map(|route| &route.schemas).chain(&own) {
        schemas.insert(name.clone(), serde_json::to_value(schema).unwrap_or_default());
    }
    for route in &api.routes {
        paths.entry(route.path).or_default().insert(route.method.to_ascii_lowercase(), operation(route));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Onrush",
            "version": env!("CARGO_PKG_VERSION"),
            "description": env!("CARGO_PKG_DESCRIPTION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "queueToken": {"type": "apiKey", "in": "header", "name": "Queue-Token"},
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": parameters(route),
        "responses": responses(route),
        "security": security(route),
        "x-who": route.who.word(),
    });
    if let Some(schema) = &route.takes {
        operation["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": schema}},
        });
    }
    if let Some(media_type) = route.takes_stream {
        operation["requestBody"] = json!({"content": {media_type: {"schema": {"type": "string"}}}});
    }
    operation
}

/// `postV1QueuesQueueIdTickets`: stable as long as the URL is.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(route.method.to_ascii_lowercase(), |mut id, word| {
        let (first, rest) = word.split_at(1);
        id.push_str(&first.to_ascii_uppercase());
        id.push_str(rest);
        id
    })
}

fn security(route: &Route) -> Value {
    match (route.who, route.pass) {
        (Who::Anyone, _) => json!([]),
        (Who::TicketHolder, _) => json!([{"queueToken": []}]),
        (_, true) => json!([{"bearer": [], "queueToken": []}]),
        (_, false) => json!([{"bearer": []}]),
    }
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path = route.path.split(['{', '}']).skip(1).step_by(2).map(|name| {
        let schema = if name.ends_with("Id") {
            json!({"type": "string", "format": "uuid"})
        } else {
            json!({"type": "string"})
        };
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    });
    let in_query = route.query.iter().map(|query| {
        json!({"name": query.name, "in": "query", "required": query.required, "schema": query.schema})
    });
    let key = (route.key != Key::None).then(|| {
        json!({
            "name": "Idempotency-Key", "in": "header", "required": route.key == Key::Required,
            "description": "1–255 visible ASCII characters, bare or in quotes; a repeat with the same key takes effect once.",
            "schema": {"type": "string", "pattern": "^([!#-~][!-~]{0,254}|\"[!-~]{1,255}\")$"},
        })
    });
    let version = route.needs_version().then(|| {
        json!({
            "name": "If-Match", "in": "header", "required": true,
            "description": "The version that was read (its `ETag`), or `*`.",
            "schema": {"type": "string", "pattern": "^(\"[0-9]{1,18}\"|\\*)$"},
        })
    });
    in_path.chain(in_query).chain(key).chain(version).collect()
}

fn responses(route: &Route) -> BTreeMap<String, Value> {
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    for success in &route.successes {
        // One status may come with bodies of several types.
        let response = success_response(route, success);
        match responses
            .get_mut(&success.status.to_string())
            .and_then(|known| known["content"].as_object_mut())
        {
            Some(known) => known.extend(response["content"].as_object().cloned().unwrap_or_default()),
            None => drop(responses.insert(success.status.to_string(), response)),
        }
    }
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in route.codes() {
        by_status.entry(code.status()).or_default().push(code);
    }
    for (status, codes) in by_status {
        let words: Vec<&str> = codes.iter().map(|code| code.word()).collect();
        let mut response = json!({
            "description": words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            "x-codes": words,
        });
        if codes.iter().any(|code| code.retry_after_seconds().is_some()) {
            response["headers"] = json!({"Retry-After": {"schema": {"type": "integer"}}});
        }
        // One status may be both: a degraded readiness has a body of its own.
        responses.entry(status.to_string()).or_insert(response);
    }
    responses
}

fn success_response(route: &Route, success: &Success) -> Value {
    let mut headers = json!({"X-Request-Id": {"schema": {"type": "string"}}});
    if route.method != "GET" && route.path.starts_with("/v1/") {
        let durability = if route.durable { "postgres" } else { "redis" };
        headers["Onrush-Durability"] = json!({"schema": {"type": "string", "const": durability}});
    }
    if route.key != Key::None {
        headers["Idempotency-Replayed"] = json!({"schema": {"type": "string", "const": "true"}});
    }
    if route.versioned && success.body.is_some() {
        headers["ETag"] = json!({"schema": {"type": "string"}});
    }
    let mut response = json!({"description": "Done", "headers": headers});
    if let Some((media_type, schema)) = &success.body {
        response["content"] = json!({ *media_type: {"schema": schema} });
    }
    response
}
