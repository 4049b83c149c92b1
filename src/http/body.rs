//! JSON bodies: 415, 413 or 400 with the fields that were wrong.

use axum::extract::{FromRequest, Request};
use axum::http::header;
use garde::Validate;
use serde::de::DeserializeOwned;

use crate::app::AppState;
use crate::error::{Code, Error, FieldError};

/// So many times the limit is read and dropped before a body is refused as too large.
const DISCARD_TIMES: usize = 16;

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
        let bytes = read(request, app.config.body_bytes_max).await?;
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

async fn read(request: Request, bytes_max: usize) -> Result<bytes::Bytes, Error> {
    let declared =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: usize| length > bytes_max) {
        // A client that still sends would see its connection reset instead of the answer.
        drop(axum::body::to_bytes(request.into_body(), bytes_max * DISCARD_TIMES).await);
        return Err(Error::refused(Code::BodyTooLarge));
    }
    axum::body::to_bytes(request.into_body(), bytes_max).await.map_err(|error| {
        let too_large =
            std::error::Error::source(&error).is_some_and(|why| why.is::<http_body_util::LengthLimitError>());
        let cut_off = || Error::because(Code::InvalidRequest, "The body was cut off.");
        if too_large { Error::refused(Code::BodyTooLarge) } else { cut_off() }
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let body = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let field = error.path().to_string();
        let why = error.into_inner();
        // An enumeration that meets an array is called a syntax error; the body may be JSON all the same.
        match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
            Ok(_) => Error::invalid(field, plain(&why)),
            Err(_) => Error::because(Code::InvalidRequest, format!("The body is not JSON: {why}.")),
        }
    })?;
    deserializer.end().map_err(|_| Error::because(Code::InvalidRequest, "More follows the JSON value."))?;
    Ok(body)
}

/// serde_json's message without its position, which means little to who sent one line.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
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
}
