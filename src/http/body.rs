//! JSON bodies: 415, 413 or 400 with the fields that were wrong.

use axum::extract::{FromRequest, Request};
use axum::http::header;
use bytes::Bytes;
use garde::Validate;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;

use super::object;
use super::plain::Plain;
use super::upload::{DISCARD_TIMES, Upload};
use crate::app::AppState;
use crate::config::Limited;
use crate::error::{Code, Error, FieldError};

/// A body that was read, parsed and found in range.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T> FromRequest<AppState> for Body<T>
where
    T: DeserializeOwned + Validate,
    T::Context: Default,
{
    type Rejection = Error;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, Error> {
        if !is_json(&request) {
            return Err(Error::refused(Code::UnsupportedMediaType));
        }
        let bytes = read(request, app.config.limits.body_bytes_max).await?;
        let body = parse::<T>(&bytes)?;
        body.validate().map_err(|report| {
            let errors = report.into_inner().into_iter();
            Error::invalid_fields(
                errors
                    .map(|(path, error)| FieldError {
                        field: camel_case(&path.to_string()),
                        message: error.to_string(),
                    })
                    .collect(),
            )
        })?;
        Ok(Self(body))
    }
}

/// A field as clients know it: the rules know it by its Rust name.
fn camel_case(path: &str) -> String {
    let mut words = path.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.push_str(letters.as_str());
        name
    })
}

fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The body was read by [`whole`] already.
async fn read(request: Request, bytes_max: usize) -> Result<Bytes, Error> {
    match request.extensions().get::<Unread>() {
        Some(Unread::TooLarge) => return Err(Error::refused(Code::BodyTooLarge)),
        Some(Unread::CutOff) => return Err(Error::because(Code::InvalidRequest, "The body was cut off.")),
        None => {}
    }
    axum::body::to_bytes(request.into_body(), bytes_max).await.map_err(Error::internal)
}

/// Why a body is not there.
#[derive(Clone, Copy, Debug)]
enum Unread {
    TooLarge,
    CutOff,
}

/// Before all routes: reads the body. An answer that came earlier, to a client that still sends, would be
/// lost with its connection. A body that its handler reads as it comes is put aside.
pub async fn whole(request: Request, limits: &Limited) -> Result<(Request, Option<Upload>), Error> {
    let asked = request.uri().path_and_query().map_or(0, |asked| asked.as_str().len());
    if asked > limits.uri_bytes_max {
        return Err(Error::because(Code::InvalidRequest, "The path with its query is too long."));
    }
    if Upload::is_one(&request) {
        let (mut parts, body) = request.into_parts();
        let upload = Upload::new(&parts.headers, body);
        parts.extensions.insert(upload.clone());
        return Ok((Request::from_parts(parts, axum::body::Body::empty()), Some(upload)));
    }
    if request.body().is_end_stream() {
        return Ok((request, None));
    }
    let (mut parts, body) = request.into_parts();
    // Boxed: most requests have no body, and each would carry this along.
    let collected = Box::pin(collect(body, limits.body_bytes_max));
    let read = tokio::time::timeout(limits.body_timeout, collected).await;
    let body = match read.unwrap_or(Err(Unread::CutOff)) {
        Ok(bytes) => bytes.into(),
        Err(unread) => {
            parts.extensions.insert(unread);
            axum::body::Body::empty()
        }
    };
    Ok((Request::from_parts(parts, body), None))
}

/// The body, or why not; beyond the limit it is read and dropped, for a while. Most come in one piece, which
/// is taken as it is.
async fn collect(mut body: axum::body::Body, bytes_max: usize) -> Result<Bytes, Unread> {
    let (mut first, mut rest, mut dropped) = (Bytes::new(), Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame.map_err(|_| Unread::CutOff)?.into_data() else { continue };
        let read = first.len() + rest.len();
        if dropped > 0 || read + frame.len() > bytes_max {
            dropped += read + frame.len();
            (first, rest) = (Bytes::new(), Vec::new());
        } else if read == 0 {
            first = frame;
        } else {
            rest.extend_from_slice(&frame);
        }
        if dropped > bytes_max * DISCARD_TIMES {
            break;
        }
    }
    match (dropped, rest.is_empty()) {
        (0, true) => Ok(first),
        (0, false) => Ok([&first[..], &rest].concat().into()),
        _ => Err(Unread::TooLarge),
    }
}

/// What cannot be read as it stands is read once more with its whole numbers written plainly; if that does
/// not help, the first reason is told.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    read_json(bytes).or_else(|why| {
        let plain = serde_json::from_slice::<Plain>(bytes).ok();
        let plain = plain.and_then(|Plain(value)| serde_json::to_vec(&value).ok());
        plain.and_then(|plain| read_json(&plain).ok()).ok_or(why)
    })
}

fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let body = object::deserialize(tracked);
    let body = body.map_err(|why: serde_json::Error| {
        let (field, why) = place(&track.path().to_string(), &why);
        // An enumeration that meets an array is called a syntax error; the body may be JSON all the same.
        match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
            Ok(_) => Error::invalid(field, why),
            Err(_) => Error::because(Code::InvalidRequest, format!("The body is not JSON: {why}.")),
        }
    })?;
    deserializer.end().map_err(|_| Error::because(Code::InvalidRequest, "More follows the JSON value."))?;
    Ok(body)
}

/// Which member is wrong, and why, in words that a client knows.
fn place(path: &str, why: &serde_json::Error) -> (String, String) {
    let text = why.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    for (beginning, message) in
        [("missing field `", "is missing"), ("duplicate field `", "stands there twice")]
    {
        if let Some(name) = text.strip_prefix(beginning).and_then(|rest| rest.strip_suffix('`')) {
            let inside = path.trim_end_matches(name).trim_end_matches('.');
            let field = if inside.is_empty() { name.to_owned() } else { format!("{inside}.{name}") };
            return (field, message.into());
        }
    }
    let field = if path == "." { "body" } else { path };
    let known = [("i64", "an integer"), ("u32", "an integer of 0 or more"), ("f64", "a number")];
    let text = known.iter().fold(text.to_owned(), |text, (rust, plain)| text.replace(rust, plain));
    (field.to_owned(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_told_by_the_name_that_clients_know() {
        assert_eq!(camel_case("queue.admit_per_second"), "queue.admitPerSecond");
        assert_eq!(camel_case("amount"), "amount");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        #[derive(Debug, serde::Deserialize)]
        struct Outer {
            #[serde(rename = "seatNumbers")]
            _seats: Vec<u32>,
        }
        let field = |json: &str| match parse::<Outer>(json.as_bytes()).unwrap_err() {
            Error::Refused(refusal) => refusal.errors.first().map(|error| error.field.clone()),
            other => panic!("{other}"),
        };
        assert_eq!(field(r#"{"seatNumbers":[1,-2]}"#).as_deref(), Some("seatNumbers[1]"));
        assert_eq!(field("{"), None);
        assert!(parse::<Vec<u32>>(b"[1] 2").is_err());
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        #[derive(Debug, serde::Deserialize)]
        struct Many {
            seats: Vec<u32>,
        }
        let read = |json: &str| parse::<Many>(json.as_bytes()).map(|many| many.seats);
        assert_eq!(read(r#"{"seats":[1.0,2e0,3]}"#).unwrap(), [1, 2, 3]);
        for wrong in [r#"{"seats":[1.5]}"#, r#"{"seats":[-1.0]}"#, r#"{"seats":[1e300]}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read(r#"{"seats":[1.0],"seats":[2]}"#).is_err(), "twice the same member");
    }
}
