//! Many calls of a script in one run: each decides for itself, in order, as if it had come alone.

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::harness::{TestApp, with_app};

const BALANCE_MAX: &str = "9007199254740991";

/// Calls of `wallet/charge` in one run: (operation, amount, fingerprint). What each came to: the word, and
/// where it has one its number in the journal.
async fn charge(
    app: &TestApp,
    user: &str,
    text: &str,
    calls: &[(Uuid, i64, &str)],
) -> Vec<(String, Option<String>)> {
    let shard = app.count("select shard::bigint from balances").await as u16;
    let (meta, journal) = (app.meta_key(shard), app.journal_key(shard));
    let of_epoch = journal.strip_suffix("journal").unwrap();
    let epoch = app.redis(&["HGET", &meta, "epoch"]).await.lines().nth(1).unwrap().to_owned();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().to_string();
    let mut command: Vec<Vec<u8>> = ["EVAL", text, "6", &meta, &journal].map(|word| word.into()).into();
    let keys = ["ops", "past", "wallet:balances", "wallet:reserved"];
    command.extend(keys.map(|key| format!("{of_epoch}{key}").into()));
    let origin = Uuid::now_v7().to_string();
    command.extend([&epoch, "", &origin, "", &now].map(|word| word.into()));
    for (op, amount, fingerprint) in calls {
        let transaction = Uuid::now_v7().to_string();
        let (op, amount) = (op.to_string(), amount.to_string());
        command.push(packed(&[&op, "1", fingerprint, "", user, &amount, &transaction, BALANCE_MAX]));
    }
    let answer = app.redis_bytes(&command).await;
    let mut rest = &answer[..];
    assert_eq!(line(&mut rest), format!("*{}", calls.len() + 1));
    assert_eq!(bulk(&mut rest), b"many");
    calls.iter().map(|_| word_and_number(bulk(&mut rest))).collect()
}

fn packed(words: &[&str]) -> Vec<u8> {
    let mut packed = Vec::new();
    rmp::encode::write_array_len(&mut packed, words.len() as u32).unwrap();
    words.iter().for_each(|word| rmp::encode::write_str(&mut packed, word).unwrap());
    packed
}

/// The next line of an answer of Redis.
fn line(rest: &mut &[u8]) -> String {
    let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
    let line = String::from_utf8_lossy(&rest[..end]).into_owned();
    *rest = &rest[end + 2..];
    line
}

/// The next string.
fn bulk<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let length = line(rest)[1..].parse::<usize>().unwrap();
    let (bulk, after) = rest.split_at(length);
    *rest = &after[2..];
    bulk
}

fn word_and_number(mut packed: &[u8]) -> (String, Option<String>) {
    let count = rmp::decode::read_array_len(&mut packed).unwrap();
    let mut next = || {
        let length = rmp::decode::read_str_len(&mut packed).unwrap() as usize;
        let (word, rest) = packed.split_at(length);
        packed = rest;
        String::from_utf8(word.to_vec()).unwrap()
    };
    (next(), (count > 1).then(next))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_of_a_run_decides_for_itself() {
    with_app(async |app| {
        let (client, user) = (app.client(), app.user(1_000).await);
        let (first, second, third) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        let text = onrush::bench::script_text("wallet/charge");
        let too_much = 9_007_199_254_740_991;
        let calls = [(first, 100, "f"), (first, 100, "f"), (second, too_much, "f"), (third, 10, "f")];
        let ended = charge(&app, &user.id, &text, &calls).await;
        let words: Vec<&str> = ended.iter().map(|(word, _)| word.as_str()).collect();
        assert_eq!(words, ["done", "replayed", "balance_limit", "done"]);
        assert_eq!(ended[0].1, ended[1].1, "sent twice in one run, it took effect once");
        let number = |at: usize| ended[at].1.as_ref().unwrap().parse::<i64>().unwrap();
        assert_eq!(number(3), number(0) + 1);
        // A later run knows what this one did.
        let again = charge(&app, &user.id, &text, &[(third, 10, "f"), (Uuid::now_v7(), 1, "f")]).await;
        assert_eq!((again[0].0.as_str(), &again[0].1), ("replayed", &ended[3].1));
        app.settled().await;
        assert_eq!(client.balance(&user).await, 1_111);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_run_that_does_not_look_at_itself_takes_effect_twice() {
    let app = TestApp::start(Default::default()).await;
    let (user, op) = (app.user(1_000).await, Uuid::now_v7());
    let text = onrush::bench::script_text("wallet/charge");
    let blind = text.replacen("records[op .. '.' .. step] or known", "known", 1);
    assert_ne!(blind, text);
    let ended = charge(&app, &user.id, &blind, &[(op, 100, "f"), (op, 100, "f")]).await;
    assert!(ended.iter().all(|(word, _)| word == "done"), "{ended:?}");
}
