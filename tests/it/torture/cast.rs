//! Who plays which part, and how often.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::load::Target;
use crate::harness::{User, at_once};

/// Newcomers who queue at once.
const QUEUEING_MAX: usize = 60;

/// Who plays which part.
pub struct Cast {
    /// Few, so that their balances see much.
    pub chargers: Vec<User>,
    /// Each is in before the faults begin, and buys once: user, concert, ticket.
    pub buyers: Vec<(User, String, String)>,
    /// They queue while the faults go on. After each loss of Redis newcomers rest for 22 s, so few of them
    /// get in before the faults are over; then all must.
    pub newcomers: Vec<User>,
    /// They join, look a few times whether their place is still theirs, and leave; again and again.
    pub visitors: Vec<User>,
    /// What chargers order when they do not charge.
    pub menus: Vec<String>,
    /// Of which they claim coupons.
    pub campaigns: Vec<String>,
    /// Events, and what each gives out.
    pub rewards: Vec<(String, String)>,
}

/// Lets buyers in, some at a time.
pub async fn let_in(
    target: &Arc<Target>,
    users: Vec<User>,
    concerts: &[String],
) -> Vec<(User, String, String)> {
    let mut inside = Vec::new();
    for users in users.chunks(200) {
        let entering = users.iter().cloned().enumerate().map(|(at, user)| {
            let (target, concert) = (target.clone(), concerts[at % concerts.len()].clone());
            async move { target.enter(&user, &concert).await.map(|ticket| (user, concert, ticket)) }
        });
        inside.extend(at_once(entering).await.into_iter().flatten());
    }
    inside
}

/// Starts operations at a rate, whatever becomes of them, until told to stop; then waits for all.
pub async fn run(target: Arc<Target>, mut cast: Cast, concerts: Vec<String>, rate: u32) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut running = tokio::task::JoinSet::new();
    let queueing = Arc::new(Semaphore::new(QUEUEING_MAX));
    let visitors = Arc::new(Mutex::new(cast.visitors));
    while target.stopped_at.get().is_none() {
        ticks.tick().await;
        let target = target.clone();
        match fastrand::u32(..100) {
            0..5 if let Some((user, concert, ticket)) = cast.buyers.pop() => {
                running.spawn(async move { target.buy(&user, &concert, &ticket).await });
            }
            5..7 if let Ok(place) = queueing.clone().try_acquire_owned()
                && let Some(user) = cast.newcomers.pop() =>
            {
                let concert = concerts[fastrand::usize(..concerts.len())].clone();
                running.spawn(async move {
                    if let Some(ticket) = target.enter(&user, &concert).await {
                        target.buy(&user, &concert, &ticket).await;
                    }
                    drop(place);
                });
            }
            7..14 if let Some(user) = visitors.lock().unwrap().pop() => {
                let concert = concerts[fastrand::usize(..concerts.len())].clone();
                let visitors = visitors.clone();
                running.spawn(async move {
                    target.visit(&user, &concert).await;
                    visitors.lock().unwrap().push(user);
                });
            }
            14..20 => {
                let user = cast.chargers[fastrand::usize(..cast.chargers.len())].clone();
                let wanted = cast.rewards[fastrand::usize(..cast.rewards.len())].clone();
                running.spawn(async move { target.reward(&user, &wanted).await });
            }
            20..28 => {
                let user = cast.chargers[fastrand::usize(..cast.chargers.len())].clone();
                let campaign = cast.campaigns[fastrand::usize(..cast.campaigns.len())].clone();
                running.spawn(async move { target.claim(&user, &campaign).await });
            }
            28..42 => {
                let user = cast.chargers[fastrand::usize(..cast.chargers.len())].clone();
                let menu = cast.menus[fastrand::usize(..cast.menus.len())].clone();
                running.spawn(async move { target.order(&user, &menu, fastrand::u32(1..30)).await });
            }
            _ => {
                let user = cast.chargers[fastrand::usize(..cast.chargers.len())].clone();
                running.spawn(async move { target.charge(&user, fastrand::i64(1..100)).await });
            }
        }
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
}
