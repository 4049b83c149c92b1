//! Reading streams: what XREAD is asked, and its answer's shape.

use fred::types::Value;

use super::RedisError;

/// One entry of a stream: its id and its fields as sent.
#[derive(Clone, Debug)]
pub struct StreamEntry {
    /// `<epoch>-<seq>`.
    pub id: String,
    /// Field, value, field, value …
    pub fields: Vec<String>,
}

/// New entries by stream.
pub type Streams = Vec<(String, Vec<StreamEntry>)>;

/// Arguments of XREAD for what follows these ids; `block_ms` to wait for the first.
pub fn request(cursors: &[(String, String)], count: usize, block_ms: Option<i64>) -> Vec<Value> {
    let mut args: Vec<Value> = vec!["COUNT".into(), (count as i64).into()];
    if let Some(block_ms) = block_ms {
        args.extend(["BLOCK".into(), Value::from(block_ms.max(1))]);
    }
    args.push("STREAMS".into());
    args.extend(cursors.iter().map(|(key, _)| Value::from(key.as_str())));
    args.extend(cursors.iter().map(|(_, id)| Value::from(id.as_str())));
    args
}

/// What XREAD answered.
pub fn read(answer: Value) -> Result<Streams, RedisError> {
    if matches!(answer, Value::Null) {
        return Ok(Vec::new());
    }
    streams(answer).ok_or_else(|| RedisError::Broken("XREAD answered in another shape".into()))
}

fn streams(answer: Value) -> Option<Streams> {
    let pairs: Vec<(Value, Value)> = match answer {
        Value::Array(streams) => streams
            .into_iter()
            .map(|stream| match stream {
                Value::Array(pair) => <[Value; 2]>::try_from(pair).ok().map(|[key, entries]| (key, entries)),
                _ => None,
            })
            .collect::<Option<_>>()?,
        _ => return None,
    };
    pairs
        .into_iter()
        .map(|(key, entries)| {
            let Value::Array(entries) = entries else { return None };
            Some((key.into_string()?, entries.into_iter().map(stream_entry).collect::<Option<_>>()?))
        })
        .collect()
}

fn stream_entry(value: Value) -> Option<StreamEntry> {
    let Value::Array(pair) = value else { return None };
    let [id, fields] = <[Value; 2]>::try_from(pair).ok()?;
    let Value::Array(fields) = fields else { return None };
    Some(StreamEntry {
        id: id.into_string()?,
        fields: fields.into_iter().map(Value::into_string).collect::<Option<_>>()?,
    })
}
