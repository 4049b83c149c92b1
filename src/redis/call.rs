//! Calling scripts: by digest, the whole text where a server does not know it yet, one call or many in a run.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use fred::clients::Client;
use fred::types::{ClusterHash, CustomCommand, Value};

use super::connection::Redis;
use super::server::{COMMAND_TIMEOUT, send};
use super::{Key, RedisError, Reply, Script, Source, keys};

/// Tries of a script whose slot is half-moved.
const TRYAGAIN_MAX: u32 = 5;

impl Redis {
    /// Calls a script whose KEYS and ARGV are all its own.
    pub async fn run<S: Script>(&self, script: S, timeout: Duration) -> Result<Reply, RedisError> {
        let (keys, args) = script.parts();
        self.call(S::SOURCE, keys, args, timeout).await
    }

    /// Calls a script with all of its keys and arguments, those of its libraries first.
    pub async fn call(
        &self,
        source: &Source,
        keys: Vec<Key>,
        args: Vec<String>,
        timeout: Duration,
    ) -> Result<Reply, RedisError> {
        let started = Instant::now();
        let answer = self.eval(source, keys, args, timeout).await;
        let outcome = match &answer {
            Ok(reply) => reply.word(),
            Err(_) => "error",
        };
        self.meter.record(source.name, outcome, started.elapsed());
        answer
    }

    /// Calls with the usual time-out.
    pub async fn call_quick(
        &self,
        source: &Source,
        keys: Vec<Key>,
        args: Vec<String>,
    ) -> Result<Reply, RedisError> {
        self.call(source, keys, args, COMMAND_TIMEOUT).await
    }

    /// Many calls of one script in one run, with the same keys; `args` are what is said once, then what each
    /// call says. An answer for each call.
    pub async fn call_many(
        &self,
        source: &Source,
        keys: Vec<Key>,
        args: Vec<String>,
        calls: usize,
    ) -> Result<Vec<Reply>, RedisError> {
        let started = Instant::now();
        let answer = self.eval(source, keys, args, COMMAND_TIMEOUT).await;
        let answers = answer.and_then(|reply| match reply.word() {
            "many" => reply.answers(0),
            // What is said before any call speaks for all.
            _ => Ok(vec![reply; calls]),
        });
        match &answers {
            Ok(answers) => {
                let words = answers.iter().map(Reply::word);
                words.for_each(|word| self.meter.record(source.name, word, started.elapsed()));
            }
            Err(error) => {
                if matches!(error, RedisError::Broken(_)) {
                    tracing::error!(script = source.name, calls, %error, "a run of a script failed");
                }
                self.meter.record(source.name, "error", started.elapsed());
            }
        }
        answers.and_then(|answers| match answers.len() == calls {
            true => Ok(answers),
            false => Err(RedisError::Broken(format!(
                "{}: {} answers to {calls} calls",
                source.name,
                answers.len()
            ))),
        })
    }

    async fn eval(
        &self,
        source: &Source,
        keys: Vec<Key>,
        args: Vec<String>,
        timeout: Duration,
    ) -> Result<Reply, RedisError> {
        let script = self.scripts.get(source.name);
        let script =
            script.ok_or_else(|| RedisError::Broken(format!("script {} is not loaded", source.name)))?;
        let lines = self.lines_of(keys.first().map(Key::as_str).unwrap_or_default())?;
        let line = lines.line()?;
        // One script, one slot.
        if cfg!(debug_assertions)
            && keys.iter().any(|key| keys::tag(key.as_str()) != keys::tag(keys[0].as_str()))
        {
            return Err(RedisError::Broken(format!("{}: keys of two slots: {keys:?}", source.name)));
        }
        // Named for another run of the server: what it was named by says nothing about this one.
        if !self.trusts_any && keys.iter().any(|key| ![0, line.server].contains(&key.server())) {
            return Err(RedisError::Away("another redis answers now".into()));
        }
        let mut values = Vec::with_capacity(2 + keys.len() + args.len());
        values.push(Value::from(script.sha.as_str()));
        values.push(Value::from(keys.len() as i64));
        values.extend(shared(keys.iter().map(Key::as_str).chain(args.iter().map(String::as_str))));
        for attempt in 0..TRYAGAIN_MAX {
            match eval(&line.client, "EVALSHA", values.clone(), timeout).await {
                // The whole text runs and stays loaded, on whichever node it was sent to.
                Err(RedisError::Refused(why)) if why.starts_with("NOSCRIPT") => {
                    values[0] = Value::from(script.text.as_str());
                    return eval(&line.client, "EVAL", values, timeout).await.and_then(Reply::read);
                }
                Err(RedisError::Refused(why)) if why.starts_with("TRYAGAIN") => {
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=4) << attempt)).await;
                }
                Err(RedisError::Refused(why)) => {
                    self.refused(&why);
                    return Err(RedisError::Refused(why));
                }
                answer => return answer.and_then(Reply::read),
            }
        }
        Err(RedisError::Refused("TRYAGAIN: the slot is being moved".into()))
    }
}

/// Arguments in one buffer: a call is cloned in case it must be sent again, and costs no allocation each.
fn shared<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> impl Iterator<Item = Value> {
    let mut buffer = BytesMut::with_capacity(texts.clone().map(str::len).sum());
    let lengths: Vec<usize> = texts
        .map(|text| {
            buffer.extend_from_slice(text.as_bytes());
            text.len()
        })
        .collect();
    let mut buffer = buffer.freeze();
    lengths.into_iter().map(move |length| Value::Bytes(buffer.split_to(length)))
}

async fn eval(
    client: &Client,
    command: &'static str,
    args: Vec<Value>,
    timeout: Duration,
) -> Result<Value, RedisError> {
    send(client, CustomCommand::new_static(command, ClusterHash::Offset(2), false), args, timeout).await
}
