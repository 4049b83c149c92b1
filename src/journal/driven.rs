//! Operations of several steps that tasks of this instance drive; recovery leaves them alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// What is driven here, and by how many.
#[derive(Debug, Default)]
pub struct Driven(Mutex<HashMap<Uuid, usize>>);

/// Ends with the task.
pub struct Driving<'a> {
    driven: &'a Driven,
    op: Uuid,
}

impl Driven {
    /// Marks an operation as driven here.
    pub fn drive(&self, op: Uuid) -> Driving<'_> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(op).or_default() += 1;
        Driving { driven: self, op }
    }

    /// Whether somebody drives it here.
    pub fn contains(&self, op: Uuid) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&op)
    }
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        let mut driven = self.driven.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = driven.get_mut(&self.op) {
            *count -= 1;
            if *count == 0 {
                driven.remove(&self.op);
            }
        }
    }
}
