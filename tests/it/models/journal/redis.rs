//! One Redis node: what a script may do to it, and what a replica of it holds.
//!
//! A node is the list of effects that it carried out, in order, and a replica that lags has a prefix of that
//! list. So a fail-over can happen between any two effects: between two entries, in the middle of a load.

use super::Defences;
use super::world::{Facts, Request, Row, World, entry_hash, marker_hash};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Fenced,
    Loading { last_chunk: usize },
    Live,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub seq: usize,
    pub operation: usize,
    pub previous: u64,
    pub hash: u64,
    pub facts: Facts,
}

/// A script on its way to a node. The driver sends it again when the connection breaks before the reply.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub operation: usize,
    pub request: Request,
    pub epoch: u64,
}

pub enum Reply {
    /// The shard is not live, or not in the caller's epoch; nothing was written.
    StaleEpoch,
    Refused,
    Written(Entry),
    /// The idempotency record of an earlier call.
    Recorded(Entry),
}

/// The keys of one epoch. The epoch stands in their names, so that each epoch has its own.
#[derive(Debug, Default)]
pub struct Keys {
    pub world: World,
    pub entries: Vec<Entry>,
    /// Entries up to here were trimmed from the stream.
    pub trimmed: usize,
}

#[derive(Clone, Debug)]
enum Effect {
    Fenced,
    Loading { epoch: u64 },
    Chunk { epoch: u64, rows: Vec<Row> },
    Live,
    Entry { epoch: u64, entry: Entry },
    Trimmed { epoch: u64, up_to: usize },
}

#[derive(Debug, Default)]
pub struct Redis {
    /// Epoch and phase, as the meta key has them; none when Redis was emptied.
    pub meta: Option<(u64, Phase)>,
    keys: BTreeMap<u64, Keys>,
    effects: Vec<Effect>,
}

impl Keys {
    /// The hash of the entry at a place in the chain, where zero is the marker.
    pub fn hash_at(&self, epoch: u64, seq: usize) -> Option<u64> {
        match seq {
            0 => Some(marker_hash(epoch)),
            _ => self.entries.get(seq - 1).map(|entry| entry.hash),
        }
    }
}

impl Redis {
    /// The node that a fail-over promotes: it lacks the last `lag` effects.
    pub fn promoted(&self, lag: usize) -> Redis {
        let mut replica = Redis::default();
        for effect in &self.effects[..self.effects.len().saturating_sub(lag)] {
            replica.carry_out(effect.clone());
        }
        replica
    }

    pub fn keys_of(&self, epoch: u64) -> Option<&Keys> {
        self.keys.get(&epoch)
    }

    pub fn is_live_in(&self, epoch: u64) -> bool {
        self.meta == Some((epoch, Phase::Live))
    }

    fn carry_out(&mut self, effect: Effect) {
        match &effect {
            Effect::Fenced => self.set_phase(Phase::Fenced),
            Effect::Loading { epoch } => self.meta = Some((*epoch, Phase::Loading { last_chunk: 0 })),
            Effect::Chunk { epoch, rows } => {
                self.keys.entry(*epoch).or_default().world.load(rows);
                if let Some((_, Phase::Loading { last_chunk })) = &mut self.meta {
                    *last_chunk += 1;
                }
            }
            Effect::Live => self.set_phase(Phase::Live),
            Effect::Entry { epoch, entry } => {
                let keys = self.keys.entry(*epoch).or_default();
                keys.world.apply(&entry.facts);
                keys.entries.push(*entry);
            }
            Effect::Trimmed { epoch, up_to } => {
                let keys = self.keys.entry(*epoch).or_default();
                keys.trimmed = keys.trimmed.max(*up_to);
            }
        }
        self.effects.push(effect);
    }

    fn set_phase(&mut self, new: Phase) {
        if let Some((_, phase)) = &mut self.meta {
            *phase = new;
        }
    }

    /// A client's script: epoch and state, idempotency, checks, journal, state.
    pub fn execute(&mut self, call: &Call, now: u64, defences: &Defences) -> Reply {
        if defences.scripts_check_epoch_and_state && !self.is_live_in(call.epoch) {
            return Reply::StaleEpoch;
        }
        let keys = self.keys.entry(call.epoch).or_default();
        if let Some(entry) = keys.entries.iter().rfind(|entry| entry.operation == call.operation) {
            return Reply::Recorded(*entry);
        }
        let Some(facts) = keys.world.decide(&call.request, now) else {
            return Reply::Refused;
        };
        let seq = keys.entries.len() + 1;
        let previous = keys.hash_at(call.epoch, seq - 1).expect("the chain has no hole");
        let hash = entry_hash(previous, call.epoch, call.operation, &facts, defences.hash_covers_facts);
        let entry = Entry { seq, operation: call.operation, previous, hash, facts };
        self.carry_out(Effect::Entry { epoch: call.epoch, entry });
        Reply::Written(entry)
    }

    pub fn trim(&mut self, epoch: u64, up_to: usize) {
        if self.keys.contains_key(&epoch) {
            self.carry_out(Effect::Trimmed { epoch, up_to });
        }
    }

    /// Stops an older epoch early. It only saves work: nothing rests on it.
    pub fn fence(&mut self, rebuilder: u64) {
        if self.meta.is_some_and(|(epoch, _)| epoch < rebuilder) {
            self.carry_out(Effect::Fenced);
        }
    }

    pub fn begin_loading(&mut self, rebuilder: u64) -> bool {
        let begins = self.meta.is_none_or(|(epoch, _)| epoch < rebuilder);
        if begins {
            self.carry_out(Effect::Loading { epoch: rebuilder });
        }
        begins
    }

    pub fn load_chunk(&mut self, rebuilder: u64, number: usize, rows: &[Row], defences: &Defences) -> bool {
        let Some((epoch, Phase::Loading { last_chunk })) = self.meta else {
            return false;
        };
        let in_order = number == last_chunk + 1 || !defences.chunks_are_numbered;
        if epoch == rebuilder && in_order {
            self.carry_out(Effect::Chunk { epoch, rows: rows.to_vec() });
        }
        epoch == rebuilder && in_order
    }

    pub fn go_live(&mut self, rebuilder: u64, chunks: usize, defences: &Defences) -> bool {
        let Some((epoch, Phase::Loading { last_chunk })) = self.meta else {
            return false;
        };
        let complete =
            last_chunk == chunks || !defences.going_live_counts_chunks || !defences.chunks_are_numbered;
        if epoch == rebuilder && complete {
            self.carry_out(Effect::Live);
        }
        epoch == rebuilder && complete
    }
}
