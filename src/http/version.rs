//! `If-Match` and `ETag`: a thing is changed as it was read, or not at all (RFC 9110, section 13.1.1).

use std::convert::Infallible;
use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};

use crate::app::AppState;
use crate::error::{Code, Error};

/// `If-Match`, as sent.
#[derive(Debug)]
pub struct IfMatch(Option<Option<String>>);

impl FromRequestParts<AppState> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Infallible> {
        let values: Vec<_> = parts.headers.get_all(IF_MATCH).iter().collect();
        let texts: Option<Vec<&str>> = values.iter().map(|value| value.to_str().ok()).collect();
        Ok(Self((!values.is_empty()).then(|| texts.map(|texts| texts.join(",")))))
    }
}

impl IfMatch {
    /// What it asks for. A tag is a version in quotes, or bare; weak ones match nothing.
    pub fn read(self) -> Result<Expected, Error> {
        let bad = || Error::invalid("If-Match", "must be a version in quotes, such as \"1\", or *");
        let Some(text) = self.0 else { return Ok(Expected::Nothing) };
        let text = text.ok_or_else(bad)?;
        if text.trim() == "*" {
            return Ok(Expected::Any);
        }
        let tags = text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(|tag| {
            let strong = tag.strip_prefix("W/");
            let inner = strong.unwrap_or(tag);
            // What is bare is a version, or nothing.
            let is_bare = strong.is_none() && inner.bytes().all(|byte| byte.is_ascii_digit());
            let quoted = inner.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            let inner = quoted.or(is_bare.then_some(inner))?;
            // Of another's making: it is a tag, and none of ours.
            let version = inner.parse::<u64>().ok().filter(|_| strong.is_none());
            let is_tag = inner.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
            is_tag.then_some(version)
        });
        let versions = tags.collect::<Option<Vec<_>>>().filter(|tags| !tags.is_empty()).ok_or_else(bad)?;
        Ok(Expected::Versions(versions.into_iter().flatten().collect()))
    }
}

/// Which versions of a thing may be changed. Written as scripts take it (`lua/lib/reward`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// None was named.
    Nothing,
    /// Whichever it has.
    Any,
    /// One of these.
    Versions(Vec<u64>),
}

impl Expected {
    /// 428 where none was named, 412 where it has another.
    pub fn check(&self, version: i64) -> Result<(), Error> {
        match self {
            Self::Nothing => Err(Error::refused(Code::VersionRequired)),
            Self::Any => Ok(()),
            Self::Versions(versions) if versions.iter().any(|one| i64::try_from(*one) == Ok(version)) => {
                Ok(())
            }
            Self::Versions(_) => Err(Error::refused(Code::VersionConflict)),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Any => f.write_str("*"),
            Self::Versions(versions) => {
                f.write_str(",")?;
                versions.iter().try_for_each(|version| write!(f, "{version},"))
            }
        }
    }
}

/// The header that tells a version.
pub fn etag(version: i64) -> (HeaderName, HeaderValue) {
    // Digits in quotes are a header's value.
    (ETAG, HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_in_quotes_or_bare() {
        let read = |text: &str| IfMatch(Some(Some(text.into()))).read();
        assert_eq!(read("\"3\"").unwrap(), Expected::Versions(vec![3]));
        assert_eq!(read("3").unwrap(), Expected::Versions(vec![3]));
        assert_eq!(read("\"3\", \"4\"").unwrap().to_string(), ",3,4,");
        assert_eq!(read(" * ").unwrap(), Expected::Any);
        for other in ["W/\"3\"", "\"abc\"", "\"-1\""] {
            assert_eq!(read(other).unwrap(), Expected::Versions(vec![]), "{other}");
            assert_eq!(read(other).unwrap().check(3).unwrap_err().code(), Code::VersionConflict);
        }
        for wrong in ["", "\"3", "3\"", "\"a b\"", ",", "{}", "abc", "W/3", "-1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(IfMatch(Some(None)).read().is_err());
        assert_eq!(IfMatch(None).read().unwrap().check(1).unwrap_err().code(), Code::VersionRequired);
    }
}
