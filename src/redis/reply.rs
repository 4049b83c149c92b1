//! What a script answers: a word, then values. The word is `done`, or a refusal spelled as in the contract.

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

    fn missing(&self, index: usize, what: &str) -> RedisError {
        RedisError::Broken(format!("the answer {:?} has no {what} at {index}: {:?}", self.word, self.values))
    }
}
