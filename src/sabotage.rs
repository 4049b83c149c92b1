//! Defences that a negative control takes out, to show that something then breaks; and economies that must
//! not be needed for safety. Only a build with the feature `sabotage`, which tests turn on, can take any out.

use std::str::FromStr;

/// What can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defence {
    /// Writes wait for Postgres before they are answered.
    Acks,
    /// Instances tell each other of commits; an economy.
    AckMessages,
    /// One instance at a time writes and keeps a shard; an economy.
    Leases,
    /// One instance at a time ticks a shard; an economy.
    TickLeases,
    /// A command reaches the run of Redis that its keys were named for.
    Runs,
    /// Each entry follows the one that Postgres has, by its hash.
    Chain,
    /// A cursor moves from where the reading began, or not at all.
    CompareAndSet,
    /// A rebuild fences old writers off before it reads what they wrote.
    Fence,
    /// The writer notes which keys are used, before it commits what was done with them.
    Notes,
    /// Points of a payment go back only when the seats' shard has said no.
    Decision,
}

impl FromStr for Defence {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word {
            "acks" => Self::Acks,
            "ack-messages" => Self::AckMessages,
            "leases" => Self::Leases,
            "tick-leases" => Self::TickLeases,
            "runs" => Self::Runs,
            "chain" => Self::Chain,
            "compare-and-set" => Self::CompareAndSet,
            "fence" => Self::Fence,
            "notes" => Self::Notes,
            "decision" => Self::Decision,
            other => return Err(format!("{other:?} is no defence")),
        })
    }
}

/// What is taken out; by default nothing.
#[derive(Clone, Debug, Default)]
pub struct Sabotage {
    missing: Vec<Defence>,
    scripts: Vec<(String, String, String)>,
    dies_at: Option<String>,
}

impl Sabotage {
    /// Takes a defence out.
    #[cfg(feature = "sabotage")]
    pub fn without(mut self, defence: Defence) -> Self {
        self.missing.push(defence);
        self
    }

    /// Replaces `from` by `to` in the script `name`; the text must be there.
    #[cfg(feature = "sabotage")]
    pub fn change_script(mut self, name: &str, from: &str, to: &str) -> Self {
        self.scripts.push((name.into(), from.into(), to.into()));
        self
    }

    /// The process dies when it gets there: `called:<script>`, a script has answered; `durable:<script>`,
    /// what it did is committed.
    #[cfg(feature = "sabotage")]
    pub fn dying_at(mut self, point: Option<String>) -> Self {
        self.dies_at = point;
        self
    }

    /// A step has got this far with a script.
    pub fn reached(&self, point: &str, script: &str) {
        if let Some(wanted) = &self.dies_at
            && wanted.split_once(':') == Some((point, script))
        {
            std::process::abort();
        }
    }

    /// Whether a defence is taken out.
    pub fn lacks(&self, defence: Defence) -> bool {
        self.missing.contains(&defence)
    }

    /// A script with its libraries, changed where that was asked for: in its own file, or where it is not
    /// there, in a library.
    pub fn mend(
        &self,
        name: &str,
        own: &str,
        compose: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<String, String> {
        let changes = self.scripts.iter().filter(|(script, ..)| script == name);
        let (here, elsewhere): (Vec<_>, Vec<_>) = changes.partition(|(_, from, _)| own.contains(from));
        let change = |text: String, (_, from, to): &(String, String, String)| {
            assert!(text.contains(from.as_str()), "{name} does not contain {from:?}");
            text.replacen(from.as_str(), to, 1)
        };
        let whole = compose(&here.into_iter().fold(own.to_owned(), change))?;
        Ok(elsewhere.into_iter().fold(whole, change))
    }
}
