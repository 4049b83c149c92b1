//! What a script answers: a word, then values. The word is `done`, or a refusal spelled as in the contract.

use bytes::Bytes;
use fred::bytes_utils::Str;
use fred::types::Value;

use super::RedisError;

/// What a key holds: its type, its items as text, and the first of them as bytes.
pub type TypedContent = (String, Vec<String>, Vec<u8>);

/// A script's answer.
#[derive(Clone, Debug)]
pub struct Reply {
    word: String,
    values: Vec<Value>,
}

impl Reply {
    /// A script answers with an array whose first element is a word.
    pub(super) fn read(value: Value) -> Result<Self, RedisError> {
        let shape = || RedisError::Broken("a script's answer is not an array that begins with a word".into());
        let Value::Array(mut values) = value else { return Err(shape()) };
        if values.is_empty() {
            return Err(shape());
        }
        let word = values.remove(0).into_string().ok_or_else(shape)?;
        Ok(Self { word, values })
    }

    /// An answer that `lua/lib/run` has packed.
    pub(super) fn unpack(packed: &Bytes) -> Result<Self, RedisError> {
        let mut rest = &packed[..];
        let value = unpack(packed, &mut rest).filter(|_| rest.is_empty());
        Self::read(value.unwrap_or(Value::Null))
    }

    /// The word.
    pub fn word(&self) -> &str {
        &self.word
    }

    /// How many values follow the word.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The value at `index` (after the word) as text.
    pub fn text(&self, index: usize) -> Result<String, RedisError> {
        self.values.get(index).and_then(Value::as_string).ok_or_else(|| self.missing(index, "text"))
    }

    /// The value at `index` as bytes.
    pub fn bytes(&self, index: usize) -> Result<Vec<u8>, RedisError> {
        let value = self.values.get(index).and_then(Value::as_bytes);
        value.map(<[u8]>::to_vec).ok_or_else(|| self.missing(index, "bytes"))
    }

    /// The value at `index` as an integer, sent as such or as digits.
    pub fn int(&self, index: usize) -> Result<i64, RedisError> {
        self.values.get(index).and_then(Value::as_i64).ok_or_else(|| self.missing(index, "an integer"))
    }

    /// The value at `index` parsed.
    pub fn parse<T: std::str::FromStr>(&self, index: usize) -> Result<T, RedisError> {
        self.text(index)?.parse().map_err(|_| self.missing(index, std::any::type_name::<T>()))
    }

    /// The value at `index` as a list of texts.
    pub fn list(&self, index: usize) -> Result<Vec<String>, RedisError> {
        match self.values.get(index) {
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_string().ok_or_else(|| self.missing(index, "a list of texts")))
                .collect(),
            _ => Err(self.missing(index, "a list")),
        }
    }

    /// The value at `index` as contents of keys: type, items as text, and the first item as bytes.
    pub fn typed(&self, index: usize) -> Result<Vec<TypedContent>, RedisError> {
        let shape = || self.missing(index, "a list of typed contents");
        let Some(Value::Array(contents)) = self.values.get(index) else { return Err(shape()) };
        let read = |content: &Value| {
            let Value::Array(pair) = content else { return None };
            let [kind, Value::Array(items)] = pair.as_slice() else { return None };
            let bytes = items.first().and_then(Value::as_bytes).map(<[u8]>::to_vec).unwrap_or_default();
            Some((kind.as_string()?, items.iter().filter_map(Value::as_string).collect(), bytes))
        };
        contents.iter().map(|content| read(content).ok_or_else(shape)).collect()
    }

    /// The values from `index` on as answers of their own.
    pub fn answers(self, index: usize) -> Result<Vec<Reply>, RedisError> {
        self.values.into_iter().skip(index).map(Reply::read).collect()
    }

    /// The values as answers of their own, each packed.
    pub(super) fn answers_packed(self) -> Result<Vec<Reply>, RedisError> {
        let packed = self.values.into_iter().map(|value| value.into_bytes().unwrap_or_default());
        packed.map(|packed| Reply::unpack(&packed)).collect()
    }

    fn missing(&self, index: usize, what: &str) -> RedisError {
        RedisError::Broken(format!("the answer {:?} has no {what} at {index}: {:?}", self.word, self.values))
    }
}

/// The next value of a MessagePack: integers, and strings and arrays of such.
fn unpack(packed: &Bytes, rest: &mut &[u8]) -> Option<Value> {
    use rmp::Marker;
    match Marker::from_u8(*rest.first()?) {
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
            let length = rmp::decode::read_str_len(rest).ok()?;
            let (text, after) = rest.split_at_checked(length as usize)?;
            *rest = after;
            let text = packed.slice_ref(text);
            Some(Str::from_inner(text.clone()).map_or(Value::Bytes(text), Value::String))
        }
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
            let count = rmp::decode::read_array_len(rest).ok()?;
            (0..count).map(|_| unpack(packed, rest)).collect::<Option<_>>().map(Value::Array)
        }
        _ => rmp::decode::read_int(rest).ok().map(Value::Integer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_packed_is_read_whole_or_not_at_all() {
        let packed = [&[0x94, 0xa4][..], b"done", &[0xa2], b"12", &[0xcd, 1, 0, 0x92, 0xa1], b"x", &[0xa0]];
        let packed = Bytes::from(packed.concat());
        let reply = Reply::unpack(&packed).unwrap();
        assert_eq!((reply.word(), reply.len()), ("done", 3));
        assert_eq!((reply.parse::<u64>(0).unwrap(), reply.int(1).unwrap()), (12, 256));
        assert_eq!(reply.list(2).unwrap(), ["x", ""]);
        for cut in 0..packed.len() {
            assert!(Reply::unpack(&packed.slice(..cut)).is_err(), "{cut}");
        }
        assert!(Reply::unpack(&[&packed[..], &[0xa0]].concat().into()).is_err());
    }
}
