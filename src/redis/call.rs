//! Calling scripts: by digest, the whole text where a server does not know it yet, one call or many in a run.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fred::clients::Client;
use fred::types::{ClusterHash, CustomCommand, Value};

use super::connection::Redis;
use super::server::{COMMAND_TIMEOUT, send};
use super::{Args, Key, RedisError, Reply, Script, Source, keys};

/// Tries of a script whose slot is half-moved.
const TRYAGAIN_MAX: u32 = 5;

/// A call of a script, with all of its keys and arguments, those of its libraries first.
#[derive(Debug)]
pub struct Call {
    /// Which script.
    pub source: &'static Source,
    /// Its keys.
    pub keys: Vec<Key>,
    /// Its arguments.
    pub args: Args,
}

/// Many calls of a script that journals, which Redis runs one after the other.
#[derive(Debug)]
pub struct Run {
    /// Which script.
    pub source: &'static Source,
    /// The keys of each call.
    pub keys: Vec<Key>,
    /// What is said once for all.
    pub once: Args,
    /// What each says, packed.
    pub calls: Vec<Bytes>,
}

impl Redis {
    /// Calls a script whose KEYS and ARGV are all its own.
    pub async fn run<S: Script>(&self, script: S, timeout: Duration) -> Result<Reply, RedisError> {
        let mut args = Args::default();
        let keys = script.tell(&mut args);
        self.call(Call { source: S::SOURCE, keys, args }, timeout).await
    }

    /// Calls a script.
    pub async fn call(&self, call: Call, timeout: Duration) -> Result<Reply, RedisError> {
        let started = Instant::now();
        let answer = self.eval(call.source, &call.keys, &call.args, Vec::new(), timeout).await;
        self.measure(call.source, started, answer.as_ref().map(std::slice::from_ref));
        answer
    }

    /// Calls with the usual time-out.
    pub async fn call_quick(&self, call: Call) -> Result<Reply, RedisError> {
        self.call(call, COMMAND_TIMEOUT).await
    }

    /// Makes many calls. An answer for each.
    pub async fn call_many(&self, run: Run) -> Result<Vec<Reply>, RedisError> {
        let started = Instant::now();
        let (name, calls) = (run.source.name, run.calls.len());
        let answer = self.eval(run.source, &run.keys, &run.once, run.calls, COMMAND_TIMEOUT).await;
        let answers = answer.and_then(|reply| match reply.word() {
            "many" => reply.answers_packed(),
            // What is said before any call speaks for all.
            _ => Ok(vec![reply; calls]),
        });
        let answers = answers.and_then(|answers| match answers.len() {
            got if got == calls => Ok(answers),
            got => Err(RedisError::Broken(format!("{name}: {got} answers to {calls} calls"))),
        });
        if let Err(error @ RedisError::Broken(_)) = &answers {
            tracing::error!(script = name, calls, %error, "a run of a script failed");
        }
        self.measure(run.source, started, answers.as_deref());
        answers
    }

    fn measure(&self, source: &Source, started: Instant, answers: Result<&[Reply], &RedisError>) {
        let record = |outcome| self.meter.record(source.name, outcome, started.elapsed());
        match answers {
            Ok(replies) => replies.iter().map(Reply::word).for_each(record),
            Err(_) => record("error"),
        }
    }

    async fn eval(
        &self,
        source: &Source,
        keys: &[Key],
        args: &Args,
        packed: Vec<Bytes>,
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
        let mut values = Vec::with_capacity(2 + keys.len() + args.count() + packed.len());
        values.push(Value::from(script.sha.as_str()));
        values.push(Value::from(keys.len() as i64));
        values.extend(shared(keys.iter().map(|key| key.as_str().as_bytes()).chain(args.iter())));
        values.extend(packed.into_iter().map(Value::Bytes));
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
fn shared<'a>(texts: impl Iterator<Item = &'a [u8]> + Clone) -> impl Iterator<Item = Value> {
    let mut buffer = BytesMut::with_capacity(texts.clone().map(<[u8]>::len).sum());
    let lengths: Vec<usize> = texts
        .map(|text| {
            buffer.extend_from_slice(text);
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
