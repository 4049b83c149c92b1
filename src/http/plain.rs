//! JSON with its whole numbers written plainly: JSON knows numbers and no integers, so `5.0` is 5 (RFC 8259,
//! JSON Schema), which what is derived for an integer does not take.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Whole numbers below it are exact in JSON: 2^53.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Any JSON value in which no object has a member twice; whole numbers are integers.
pub struct Plain(pub Value);

struct Plainly;

impl<'de> Visitor<'de> for Plainly {
    type Value = Plain;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Plain, E> {
        Ok(Plain(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Plain, E> {
        Ok(Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Plain, E> {
        Ok(Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Plain, E> {
        Ok(Plain(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Plain, E> {
        let is_whole = value.fract() == 0.0 && value.abs() < WHOLE_MAX;
        Ok(Plain(if is_whole { (value as i64).into() } else { value.into() }))
    }

    fn visit_str<E>(self, value: &str) -> Result<Plain, E> {
        Ok(Plain(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Plain, A::Error> {
        let mut all = Vec::new();
        while let Some(Plain(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Plain(all.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Plain, A::Error> {
        let mut all = Map::new();
        while let Some((name, Plain(value))) = members.next_entry::<String, Plain>()? {
            if all.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands there twice"));
            }
        }
        Ok(Plain(all.into()))
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Plainly)
    }
}
