//! The HTTP contract (`contract.txt`), compared with the OpenAPI document that the server gives.

use std::collections::{BTreeMap, BTreeSet};

use onrush::error::Code;
use serde_json::Value;

use crate::harness::with_app;

const CONTRACT: &str = include_str!("contract.txt");
/// Codes that any route may have, whoever asks for whatever.
const ANYWHERE: &[&str] = &[
    "invalid_request",
    "idempotency_in_progress",
    "idempotency_key_reused",
    "busy",
    "unavailable",
    "draining",
    "outcome_unknown",
];
/// Shapes that are no JSON object with members of their own.
const OPAQUE: &[&str] = &["any", "events", "html", "text"];

type Words = BTreeSet<String>;

/// What a route promises, as the contract or the document says it.
#[derive(Debug, PartialEq, Eq)]
struct Promise {
    who: String,
    bearer: bool,
    ticket: bool,
    needs_key: bool,
    /// It tells its version, or where it is a change, asks for it.
    versioned: bool,
    takes: Words,
    /// Members of the body by status; of a page's items where it is one.
    answers: BTreeMap<String, (bool, Words)>,
    refuses: Words,
}

fn words<'a>(of: impl IntoIterator<Item = &'a str>) -> Words {
    of.into_iter().map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn lines() -> impl Iterator<Item = &'static str> {
    CONTRACT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A line of the contract; codes that follow from its other columns are added.
fn promised(line: &str) -> (String, Promise) {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let [route, who, marks, takes, answers, own] = columns[..] else { panic!("columns of {line:?}") };
    let pass = marks.contains('Q');
    let bearer = !matches!(who, "anyone" | "ticket");
    let ticket = who == "ticket" || pass;
    let (needs_key, versioned) = (marks.contains('K'), marks.contains('V'));
    let changes = versioned && (route.starts_with("PUT") || route.starts_with("DELETE"));
    let implied = [
        (bearer, &["unauthenticated"][..]),
        (
            matches!(who, "owner" | "operator" | "auditor" | "operator+auditor" | "admin") || pass,
            &["forbidden"],
        ),
        (changes, &["version_required", "version_conflict"]),
        (!matches!(route, "GET /livez" | "GET /health" | "GET /readyz"), &["rate_limited"]),
        (ticket, &["queue_token_invalid", "queue_ticket_gone"]),
        (pass, &["queue_not_admitted"]),
        (needs_key, &["idempotency_key_missing"]),
        (!takes.is_empty(), &["body_too_large", "unsupported_media_type"]),
    ];
    let implied = implied.iter().filter(|(follows, _)| *follows).flat_map(|(_, codes)| codes.iter().copied());
    let answers = answers.split(';').map(|answer| {
        let (status, shape) = answer.trim().split_once(' ').unwrap_or((answer.trim(), ""));
        let (paged, shape) = shape.strip_prefix("page ").map_or((false, shape), |shape| (true, shape));
        let members = if OPAQUE.contains(&shape) { Words::new() } else { words(shape.split(',')) };
        (status.to_owned(), (paged, members))
    });
    let promise = Promise {
        who: who.to_owned(),
        bearer,
        ticket,
        needs_key,
        versioned,
        takes: words(takes.split(',')),
        answers: answers.collect(),
        refuses: words(own.split(',').chain(implied)),
    };
    (route.to_owned(), promise)
}

/// A schema's members, through references and compositions.
fn members(document: &Value, schema: &Value) -> Words {
    let schema = resolved(document, schema);
    let parts = schema["allOf"].as_array().into_iter().flatten();
    let own = schema["properties"].as_object().into_iter().flat_map(|own| own.keys().cloned());
    own.chain(parts.flat_map(|part| members(document, part))).collect()
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            document.pointer(&reference[1..]).unwrap_or_else(|| panic!("{reference} is nowhere"))
        }
        None => schema,
    }
}

/// An operation of the document.
fn told(document: &Value, operation: &Value) -> Promise {
    let requires = |scheme: &str| {
        operation["security"].as_array().into_iter().flatten().any(|one| one.get(scheme).is_some())
    };
    let needs = |header: &str| {
        let mut parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.any(|one| one["name"] == header && one["required"] == true)
    };
    let mut versioned = needs("If-Match");
    let (mut answers, mut refuses) = (BTreeMap::new(), Words::new());
    for (status, response) in operation["responses"].as_object().unwrap() {
        if let Some(codes) = response["x-codes"].as_array() {
            refuses.extend(words(codes.iter().map(|code| code.as_str().unwrap())));
            continue;
        }
        versioned |= !response["headers"]["ETag"].is_null();
        let schema = resolved(document, &response["content"]["application/json"]["schema"]);
        let paged = schema["properties"].get("nextCursor").is_some();
        let shape = if paged { &schema["properties"]["items"]["items"] } else { schema };
        answers.insert(status.clone(), (paged, members(document, shape)));
    }
    refuses.retain(|code| !ANYWHERE.contains(&code.as_str()));
    Promise {
        who: operation["x-who"].as_str().unwrap().to_owned(),
        bearer: requires("bearer"),
        ticket: requires("queueToken"),
        needs_key: needs("Idempotency-Key"),
        versioned,
        takes: members(document, &operation["requestBody"]["content"]["application/json"]["schema"]),
        answers,
        refuses,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_shapes_and_codes_are_those_of_the_contract() {
    with_app(async |app| {
        let document = app.client().get("/openapi.json").await.expect(200).body;
        let mut told_routes = BTreeMap::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let route = format!("{} {path}", method.to_uppercase());
                told_routes.insert(route, told(&document, operation));
            }
        }
        let mut broken = Vec::new();
        for (route, promise) in lines().filter(|line| line.contains('|')).map(promised) {
            match told_routes.remove(&route) {
                None => broken.push(format!("{route} is missing")),
                Some(told) if told != promise => {
                    broken.push(format!("{route}\n  contract {promise:?}\n  document {told:?}"));
                }
                Some(_) => {}
            }
        }
        broken.extend(told_routes.keys().map(|route| format!("{route} is not in the contract")));
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    })
    .await;
}

#[test]
fn every_code_has_the_contracts_status() {
    let promised = lines().filter(|line| !line.contains('|')).flat_map(|line| {
        let mut words = line.split(' ');
        let status: u16 = words.next().unwrap().parse().unwrap();
        words.map(move |code| (code.to_owned(), status))
    });
    let told = Code::ALL.iter().map(|code| (code.to_string(), code.status()));
    // What the server says of its own mistakes is in no contract.
    let told = told.filter(|(_, status)| *status != 500);
    assert_eq!(told.collect::<BTreeMap<_, _>>(), promised.collect::<BTreeMap<_, _>>());
}
