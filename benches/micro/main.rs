//! What the hot paths are made of, each alone (criterion). `cargo bench --bench micro`; run as a test, each
//! part runs once.

mod servers;

use std::hint::black_box;

use aws_lc_rs::hmac;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use onrush::bench::{ChainHash, Entry, Line, OpStep, Shard, Space, StreamEntry, Ticket, Tickets, chain_hash};
use uuid::Uuid;

/// People in line.
const CROWD: i64 = 1_000_000;
/// Entries of a round of the writer under load.
const ROUND: u64 = 500;

fn keys(c: &mut Criterion) {
    let (space, user) = (Space::new("onrush".into(), Shard(7), 5, 0), Uuid::now_v7());
    c.bench_function("key of a part of a queue", |b| {
        b.iter(|| black_box(&space).key("queue", &[black_box(&user), &"waiting"]));
    });
}

fn tickets(c: &mut Criterion) {
    let tickets = Tickets::new(hmac::Key::new(hmac::HMAC_SHA256, b"a key of 32 bytes or so, for HMAC"));
    let (user, queue) = (Uuid::now_v7().into(), Uuid::now_v7().into());
    let ticket = Ticket { user, queue, number: 123_456, epoch: 3, issued_ms: 1_800_000_000_000 };
    let signed = tickets.sign(&ticket);
    c.bench_function("ticket, signed", |b| b.iter(|| tickets.sign(black_box(&ticket))));
    c.bench_function("ticket, read", |b| b.iter(|| tickets.read(black_box(&signed))));
}

fn lines(c: &mut Criterion) {
    // One in eight has left.
    let bytes = vec![0b1110_1111; CROWD as usize / 8];
    let line = Line::new(0, &bytes);
    let mut group = c.benchmark_group("line of a million");
    group.bench_function("position", |b| {
        let mut number = 0;
        b.iter(|| {
            number = (number + 7_919) % CROWD;
            line.position(black_box(number))
        });
    });
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("read from Redis' bits", |b| b.iter(|| Line::new(0, black_box(&bytes))));
    group.finish();
}

/// An entry of a charge, as XREAD tells it.
fn charge(seq: u64, previous: ChainHash) -> (StreamEntry, ChainHash) {
    let op = OpStep { op: Uuid::now_v7(), step: 1 };
    let (user, transaction) = (Uuid::now_v7(), Uuid::now_v7());
    let facts = format!(
        "op.requested|{user}|points.charge|key-{seq}|{user}|0123456789abcdef\n\
         points.charged|{transaction}|{user}|100|12345"
    );
    let at_ms = 1_800_000_000_000;
    let hash = chain_hash(previous, 1, op, "wallet/charge", at_ms, &facts);
    let fields = [
        ("op", op.op.to_string()),
        ("st", "1".into()),
        ("o", Uuid::now_v7().to_string()),
        ("k", "wallet/charge".into()),
        ("at", at_ms.to_string()),
        ("f", facts),
        ("p", previous.to_string()),
        ("h", hash.to_string()),
    ];
    let fields = fields.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
    (StreamEntry { id: format!("1-{seq}"), fields }, hash)
}

fn journal(c: &mut Criterion) {
    let mut head = ChainHash::ROOT;
    let mut round = Vec::new();
    for seq in 1..=ROUND {
        let (entry, hash) = charge(seq, head);
        head = hash;
        round.push(entry);
    }
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Elements(ROUND));
    group.bench_function("a round of charges, read and checked", |b| {
        b.iter_batched(
            || &round,
            |round| {
                for raw in round {
                    let entry = Entry::read(Shard(3), raw).unwrap_or_else(|error| panic!("{error}"));
                    black_box(entry.facts.events()).unwrap_or_else(|error| panic!("{error}"));
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(micro, keys, tickets, lines, journal, servers::servers);
criterion_main!(micro);
