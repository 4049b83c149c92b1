//! Two instances on the same servers behave as one.

use onrush::sabotage::{Defence, Sabotage};
use serde_json::json;

use crate::harness::{Build, at_once, eventually, key, with_apps};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_instance_does_the_other_knows() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (one, two) = (app.client_of(0), app.client_of(1));
        let (operator, user) = (app.operator().await, app.user(1_000).await);
        let concert = one.concert(&operator, 5, 100, json!({})).await;
        // A show that the other instance added is found, also where this one has looked before.
        let more = json!({"date": crate::harness::day(2), "price": 7});
        two.post_as(&operator, &format!("/v1/concerts/{concert}/shows"), more).await.expect(201);
        let number = one.join(&user, &concert).await.expect(201).int_of("number");
        let joined = two.join(&user, &concert).await.expect(200);
        assert_eq!(joined.int_of("number"), number);
        let token = joined.text_of("token");
        eventually("the turn has come", || async {
            one.poll(&concert, &token).await.body["status"] == "ACTIVE"
        })
        .await;
        assert_eq!(two.poll(&concert, &token).await.body["status"], "ACTIVE");
        let held = two.reserve(&user, &token, &concert, &[1]).await.expect(201).text_of("reservationId");
        let key = key();
        let payment = one.pay(&user, &token, &held, &key).await.expect(201);
        let again = two.pay(&user, &token, &held, &key).await.expect(201);
        assert_eq!((again.header("idempotency-replayed"), &again.body), ("true", &payment.body));
        assert_eq!(two.balance(&user).await, 900);
        two.poll(&concert, &token).await.refused(410, "queue_ticket_gone");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_acknowledged_by_the_others_writer() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        app.written_by(2).await;
        let users = app.users(200, 0).await;
        let charges = users.into_iter().enumerate().map(|(at, user)| {
            let client = app.client_of(at % 2);
            async move { client.charge(&user, 5, &key()).await.expect(201).int_of("balance") }
        });
        assert!(at_once(charges).await.into_iter().all(|balance| balance == 5));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_lost_costs_time_and_nothing_else() {
    // Nobody hears of acknowledgements: Postgres is asked.
    let build = Build {
        instances: 2,
        sabotage: Sabotage::default().without(Defence::AckMessages),
        ..Build::default()
    };
    with_apps(build, async |app| {
        let users = app.users(20, 0).await;
        for (at, user) in users.iter().enumerate() {
            app.client_of(at % 2).charge(user, 5, &key()).await.expect(201);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_of_one_shard_do_no_harm() {
    // Every instance writes every shard, whatever the leases say.
    let build =
        Build { instances: 3, sabotage: Sabotage::default().without(Defence::Leases), ..Build::default() };
    with_apps(build, async |app| {
        let user = app.user(0).await;
        let charges = (0..300).map(|at| {
            let (client, user) = (app.client_of(at % 3), user.clone());
            async move { client.charge(&user, 1, &key()).await.expect(201).int_of("balance") }
        });
        let mut balances = at_once(charges).await;
        balances.sort_unstable();
        assert_eq!(balances, (1..=300).collect::<Vec<i64>>());
        assert_eq!(app.count("select count(*) from ledger").await, 300);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_answers_before_the_commit_are_not_durable() {
    // With the wait taken out an answer comes although Postgres has nothing: what durability tests would
    // catch.
    let sabotage = Sabotage::default().without(Defence::Acks);
    let app = crate::harness::TestApp::start(Build { sabotage, ..Build::default() }).await;
    let (client, user) = (app.client(), app.user(0).await);
    let lock = app.hold_up_postgres().await;
    client.charge(&user, 5, &key()).await.expect(201);
    assert_eq!(app.count("select count(*) from operations").await, 0, "told yes, and Postgres knows nothing");
    drop(lock);
}
