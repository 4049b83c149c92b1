//! JSON bodies: 415, 413 or 400 with the fields that were wrong.

use axum::extract::{FromRequest, Request};
use axum::http::header;
use garde::Validate;
use serde::de::DeserializeOwned;

use crate::app::AppState;
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
        let bytes = read(request, app.config.body_bytes_max).await?;
        let body = parse::<T>(&bytes)?;
        body.validate().map_err(|report| {
            let errors = report.into_inner().into_iter();
            Error::invalid_fields(
                errors
                    .map(|(path, error)| FieldError { field: path.to_string(), message: error.to_string() })
                    .collect(),
            )
        })?;
        Ok(Self(body))
    }
}

fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

async fn read(request: Request, bytes_max: usize) -> Result<bytes::Bytes, Error> {
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: usize| length > bytes_max) {
        return Err(Error::refused(Code::BodyTooLarge));
    }
    axum::body::to_bytes(request.into_body(), bytes_max).await.map_err(|error| {
        let too_large = std::error::Error::source(&error).is_some_and(|why| why.is::<http_body_util::LengthLimitError>());
        let cut_off = || Error::because(Code::InvalidRequest, "The body was cut off.");
        if too_large { Error::refused(Code::BodyTooLarge) } else { cut_off() }
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let body = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let field = error.path().to_string();
        let why = error.into_inner();
        match why.classify() {
            serde_json::error::Category::Data => Error::invalid(field, plain(&why)),
            _ => Error::because(Code::InvalidRequest, format!("The body is not JSON: {why}.")),
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
