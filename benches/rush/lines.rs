//! Files of lines: users, tickets.

use std::path::Path;

use anyhow::{Context, ensure};

/// What the first line of a file of users says.
const USERS_HEADER: &str = "userId,accessToken";

/// A file in memory as it is: one allocation, and eight bytes a line to find it.
#[derive(Default)]
pub struct Lines {
    text: String,
    starts: Vec<usize>,
}

impl Lines {
    /// The lines of a file that are not empty.
    pub fn read(path: &Path) -> anyhow::Result<Lines> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let (mut starts, mut at) = (Vec::new(), 0);
        for line in text.split_inclusive('\n') {
            if !line.trim_end().is_empty() {
                starts.push(at);
            }
            at += line.len();
        }
        Ok(Lines { text, starts })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// One after the other, and again from the first. There must be one.
    pub fn in_turn(&self, turn: u64) -> &str {
        self.line((turn % self.starts.len() as u64) as usize)
    }

    fn line(&self, at: usize) -> &str {
        let rest = &self.text[self.starts[at]..];
        rest.split('\n').next().unwrap_or(rest).trim_end()
    }
}

/// Who a request is made for.
#[derive(Clone, Copy)]
pub struct User<'a> {
    pub id: &'a str,
    pub token: &'a str,
}

impl<'a> User<'a> {
    /// A line of a file of users; none where it is the header.
    pub fn parse(line: &'a str) -> Option<User<'a>> {
        let (id, token) = line.split_once(',')?;
        (line != USERS_HEADER).then_some(User { id, token })
    }
}

/// A file as `onrush load-users` prints it.
#[derive(Default)]
pub struct Users(Lines);

impl Users {
    /// Each line is a user, but for the header.
    pub fn read(path: &Path) -> anyhow::Result<Users> {
        let mut lines = Lines::read(path)?;
        if lines.len() > 0 && lines.line(0) == USERS_HEADER {
            lines.starts.remove(0);
        }
        ensure!(lines.len() > 0, "{} has no users", path.display());
        for at in 0..lines.len() {
            ensure!(lines.line(at).contains(','), "{} has a line that is no user", path.display());
        }
        Ok(Users(lines))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One after the other, and again from the first.
    pub fn in_turn(&self, turn: u64) -> User<'_> {
        let (id, token) = self.0.in_turn(turn).split_once(',').unwrap_or_default();
        User { id, token }
    }
}
