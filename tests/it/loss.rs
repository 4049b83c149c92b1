//! A start on an empty Redis, and a Redis that loses everything: what was acknowledged comes back from
//! Postgres.

use onrush::sabotage::Sabotage;
use serde_json::json;

use crate::harness::{Build, Program, TestApp, eventually, key, program_settings, with_app, with_apps};

/// In the first epoch no tick journals what is soft, so a loss takes all of it.
fn joins_stay_soft() -> Sabotage {
    let now = "local soft, told, restores = tell_soft(most, tonumber(q[14]), tonumber(q[15]))";
    let later = "local soft, told, restores = 0, tonumber(q[14]), 0
        if epoch ~= '1' then
            soft, told, restores = tell_soft(most, tonumber(q[14]), tonumber(q[15]))
        end";
    Sabotage::default().change_script("queue/tick", now, later)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_was_acknowledged_comes_back() {
    with_app(async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(3, 1_000).await);
        let concert = client.concert(&operator, 10, 100, json!({"maxSeatsPerUser": 4})).await;
        let token = client.enter(&users[0], &concert).await;
        let held =
            client.reserve(&users[0], &token, &concert, &[1, 2]).await.expect(201).text_of("reservationId");
        let bought =
            client.reserve(&users[0], &token, &concert, &[3]).await.expect(201).text_of("reservationId");
        let paid = client.pay(&users[0], &token, &bought, &key()).await.expect(201);
        let spent = client.enter(&users[1], &concert).await;
        let sold =
            client.reserve(&users[1], &spent, &concert, &[4]).await.expect(201).text_of("reservationId");
        let payment_key = key();
        client.pay(&users[1], &spent, &sold, &payment_key).await.expect(201);
        app.settled().await;
        app.lose_redis().await;
        app.rebuilt(2).await;
        assert_eq!(client.balance(&users[0]).await, 900);
        assert_eq!(client.charge(&users[0], 1, &key()).await.expect(201).body["balance"], 901);
        // The pass lives on; a spent one stays spent, and its payment is told again.
        assert_eq!(client.poll(&concert, &token).await.expect(200).body["status"], "ACTIVE");
        client.poll(&concert, &spent).await.refused(410, "queue_ticket_gone");
        let again = client.pay(&users[1], &spent, &sold, &payment_key).await.expect(201);
        assert_eq!(again.header("idempotency-replayed"), "true");
        // Held and sold seats are taken, the limit counts them, and the hold can be paid.
        client.reserve(&users[0], &token, &concert, &[4]).await.refused(409, "seat_taken");
        client.reserve(&users[0], &token, &concert, &[5, 6]).await.refused(409, "seat_limit");
        client.pay(&users[0], &token, &held, &key()).await.expect(201);
        let path = format!("/v1/payments/{}", paid.text_of("paymentId"));
        assert_eq!(client.get_as(&users[0], &path).await.expect(200).body, paid.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_keep_their_numbers_and_new_ones_never_meet_them() {
    let (build, clock) = Build::default().with_test_clock(1_800_000_000_000);
    with_apps(build, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(4, 0).await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let mut tokens = Vec::new();
        for user in &users[..3] {
            tokens.push(client.join(user, &queue).await.expect(201).text_of("token"));
        }
        client.leave(&queue, &tokens[1]).await.expect(204);
        app.pass_time(&clock, 1, 1).await;
        app.settled().await;
        app.lose_redis().await;
        app.rebuilt(2).await;
        let first = client.poll(&queue, &tokens[0]).await.expect(200);
        assert_eq!((first.int_of("number"), first.int_of("position")), (1, 1));
        client.poll(&queue, &tokens[1]).await.refused(410, "queue_ticket_gone");
        let third = client.poll(&queue, &tokens[2]).await.expect(200);
        assert_eq!((third.int_of("number"), third.int_of("position")), (3, 2));
        let newcomer = client.join(&users[3], &queue).await.expect(201);
        assert_eq!((newcomer.int_of("number"), newcomer.int_of("position")), (1_000_004, 3));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_no_tick_had_journaled_comes_back_with_its_ticket() {
    let (build, clock) = Build::default().with_test_clock(1_800_000_000_000);
    with_apps(Build { sabotage: joins_stay_soft(), ..build }, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(4, 0).await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let mut tokens = Vec::new();
        for user in &users[..3] {
            tokens.push(client.join(user, &queue).await.expect(201).text_of("token"));
        }
        app.settled().await;
        app.lose_redis().await;
        app.rebuilt(2).await;
        // Somebody new is first to come; two of the lost follow, one of them after joining anew.
        let newcomer = client.join(&users[3], &queue).await.expect(201);
        assert_eq!(newcomer.int_of("number"), 1_000_001);
        let anew = client.join(&users[1], &queue).await.expect(201);
        assert_eq!(anew.int_of("number"), 1_000_002);
        let back = client.poll(&queue, &tokens[1]).await.expect(200);
        assert_eq!((back.int_of("number"), back.int_of("position")), (2, 1), "the lower number wins");
        assert!(back.body["token"].is_string(), "it was signed anew");
        client.poll(&queue, &anew.text_of("token")).await.refused(410, "queue_ticket_gone");
        let first = client.poll(&queue, &tokens[0]).await.expect(200);
        assert_eq!((first.int_of("number"), first.int_of("position")), (1, 1));
        // Who leaves with a lost ticket does not come back with it.
        client.leave(&queue, &tokens[2]).await.expect(204);
        client.poll(&queue, &tokens[2]).await.refused(410, "queue_ticket_gone");
        // Nobody above the lost is let in until they had time to ask.
        client.put_as(&operator, &format!("/v1/queues/{queue}"), json!({"maxActive": 10})).await.expect(200);
        app.pass_time(&clock, 21_000, 1_000).await;
        assert_eq!(client.poll(&queue, &tokens[0]).await.body["status"], "WAITING");
        app.settled().await;
        app.pass_time(&clock, 3_000, 1_000).await;
        for token in [&tokens[0], &tokens[1], &newcomer.text_of("token")] {
            assert_eq!(client.poll(&queue, token).await.body["status"], "ACTIVE");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_his_turn_with_a_later_number_gets_no_second_one_with_the_lost_ticket() {
    let (build, clock) = Build::default().with_test_clock(1_800_000_000_000);
    with_apps(Build { sabotage: joins_stay_soft(), ..build }, async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let lost = client.join(&user, &queue).await.text_of("token");
        app.lose_redis().await;
        app.rebuilt(2).await;
        let later = client.join(&user, &queue).await.text_of("token");
        client.put_as(&operator, &format!("/v1/queues/{queue}"), json!({"maxActive": 1})).await.expect(200);
        app.pass_time(&clock, 23_000, 1_000).await;
        // The clock ran faster than Postgres; a shard that is behind lets nobody in.
        app.settled().await;
        app.pass_time(&clock, 1_000, 1_000).await;
        assert_eq!(client.poll(&queue, &later).await.body["status"], "ACTIVE");
        client.poll(&queue, &lost).await.refused(410, "queue_ticket_gone");
        client.leave(&queue, &later).await.expect(204);
        client.poll(&queue, &lost).await.refused(410, "queue_ticket_gone");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_whose_meta_is_gone_refuses_until_it_is_rebuilt() {
    with_app(async |app| {
        let (client, user) = (app.client(), app.user(10).await);
        for round in 1..=5 {
            for shard in 0..4 {
                app.redis(&["DEL", &app.meta_key(shard)]).await;
            }
            // Either the old state, refused, or the new; never a yes on a shard without its meta.
            let answer = client.charge(&user, 1, &key()).await;
            assert!([201, 503].contains(&answer.status), "{}", answer.text);
            app.rebuilt(round + 1).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_died_half_way_is_noticed_and_undone() {
    // The script stops after its journal entry: the state does not follow, the chain's head neither.
    let dies = Sabotage::default().change_script(
        "wallet/charge",
        "append()\n",
        "append()\nif points == 13 then error('died') end\n",
    );
    with_apps(Build { sabotage: dies, ack_timeout_ms: 1_000, shards: 1, ..Build::default() }, async |app| {
        let (client, user) = (app.client(), app.user(100).await);
        let path = format!("/v1/users/{}/points/charge", user.id);
        let request = client.request(reqwest::Method::POST, &path).bearer_auth(&user.token);
        let died =
            request.header("Idempotency-Key", "dies").json(&json!({"amount": 13})).send().await.unwrap();
        // Its entry stands in the journal: where Postgres took it before the rebuild, that is the answer.
        let is_done = died.status() == 201;
        assert!(is_done || died.status().is_server_error(), "{}", died.status());
        eventually("the shard is rebuilt", || async {
            app.count("select coalesce(max(epoch), 0) from journal_cursor where state = 'live'").await >= 2
        })
        .await;
        app.ready().await;
        let balance = client.balance(&user).await;
        assert!(balance == 113 || (balance == 100 && !is_done), "{balance} after {}", is_done);
        assert_eq!(client.charge(&user, 1, &key()).await.expect(201).int_of("balance"), balance + 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_epoch_has_left_is_unlinked() {
    with_app(async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(2, 1_000).await);
        let concert = client.concert(&operator, 10, 100, json!({})).await;
        let token = client.enter(&users[0], &concert).await;
        client.reserve(&users[0], &token, &concert, &[1]).await.expect(201);
        app.settled().await;
        // Only what says which epoch lives is lost; the keys of the first epoch stay behind.
        for shard in 0..4 {
            app.redis(&["DEL", &app.meta_key(shard)]).await;
        }
        app.rebuilt(2).await;
        let keys_of = async |epoch: u64| {
            let script = "return #redis.call('KEYS', ARGV[1])";
            let pattern = format!("{}:{{s*}}:{epoch}:*", app.config.prefix);
            app.redis_everywhere(script, &pattern).await
        };
        app.inside(0).unlink_dead().await.unwrap();
        assert_eq!(keys_of(1).await, 0, "the dead epoch's keys are gone");
        assert!(keys_of(2).await > 5, "the living one's stay");
        client.reserve(&users[0], &token, &concert, &[1]).await.refused(409, "seat_taken");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_from_an_old_backup_overwrites_nothing() {
    let app = TestApp::start(Build::default()).await;
    let operator = app.operator().await;
    let queue = app.client().queue(&operator, json!({})).await;
    let of_shard = app.inside(0).journal_key(0);
    assert!(of_shard.contains(":1:"), "{of_shard}");
    let app = app.stop_instances().await;
    // As if a backup of a stopped instance had come back under a Redis that went on for long.
    let meta = app.meta_key(0);
    app.redis(&["HSET", &meta, "epoch", "100", "state", "live"]).await;
    app.sql("update journal_cursor set state = 'rebuilding' where shard = 0").await;
    let app = app.start_unready().await;
    eventually("the shard is fenced", || async {
        app.count("select count(*) from journal_cursor where shard = 0 and state = 'fenced'").await == 1
    })
    .await;
    assert_eq!(app.redis(&["HGET", &meta, "epoch"]).await, "$3\r\n100\r\n", "redis is as it was");
    assert_eq!(app.count("select count(*) from queue_gaps").await, 0, "no number was given up");
    let states = app.client().get("/readyz").await.expect(503).body["shardStates"].clone();
    assert_eq!((&states["s00"], &states["s01"]), (&json!("fenced"), &json!("live")));
    // The operator is told why, and decides.
    let rebuild = |args: &[&str]| {
        let mut command = Program::command(&[&["rebuild", "--shard", "0"], args].concat());
        program_settings(&mut command, &app).output().unwrap()
    };
    let told = rebuild(&[]);
    assert!(!told.status.success() && String::from_utf8_lossy(&told.stdout).contains("older backup"));
    assert!(rebuild(&["--accept-postgres"]).status.success());
    app.ready().await;
    assert!(app.count("select epoch from journal_cursor where shard = 0").await > 100);
    app.client().get(&format!("/v1/queues/{queue}")).await.expect(200);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_rebuilds_a_living_shard_by_hand() {
    with_app(async |app| {
        let (client, user) = (app.client(), app.user(10).await);
        let mut command = Program::command(&["rebuild"]);
        let told = program_settings(&mut command, &app).output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        assert!(String::from_utf8_lossy(&told.stdout).contains("s03 is rebuilt, in epoch 2"));
        app.rebuilt(2).await;
        assert_eq!(client.charge(&user, 1, &key()).await.expect(201).body["balance"], 11);
    })
    .await;
}

const LIVE: &str = "select coalesce(max(epoch), 0) from journal_cursor where shard = 0 and state = 'live'";

/// Users of one shard with balances, and the ledgers that say why.
async fn crowd(app: &TestApp) {
    app.sql(
        "with made as (
             insert into balances (user_id, shard, balance)
             select gen_random_uuid(), 0, 7 from generate_series(1, 150000) returning user_id
         )
         insert into ledger (transaction_id, user_id, type, amount, balance_after, epoch, seq, created_at)
         select gen_random_uuid(), user_id, 'CHARGE', 7, 7, 0, 0, now() from made",
    )
    .await;
}

/// Waits until a rebuild of the first shard has begun to load.
async fn loading(app: &TestApp) -> i64 {
    let meta = app.meta_key(0);
    eventually("the shard is being loaded", || async {
        app.redis(&["HGET", &meta, "state"]).await.contains("loading")
    })
    .await;
    app.count("select epoch from journal_cursor where shard = 0").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_loss_while_a_shard_is_loaded_begins_again() {
    with_app(async |app| {
        let (client, user) = (app.client(), app.user(10).await);
        crowd(&app).await;
        app.lose_redis().await;
        let first = loading(&app).await;
        app.lose_redis().await;
        app.rebuilt(2).await;
        assert!(app.count("select epoch from journal_cursor where shard = 0").await > first);
        assert_eq!(client.charge(&user, 1, &key()).await.expect(201).body["balance"], 11);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuilder_that_slept_finds_another_epoch_and_does_no_harm() {
    with_app(async |app| {
        let (client, user) = (app.client(), app.user(10).await);
        crowd(&app).await;
        app.lose_redis().await;
        app.rebuilt(2).await;
        let mut command = Program::command(&["rebuild", "--shard", "0"]);
        program_settings(&mut command, &app).stdout(std::process::Stdio::null());
        let mut sleeper = Program::spawn(command);
        let epoch = loading(&app).await;
        onrush::servers::signal(sleeper.pid(), "STOP");
        eventually("whoever looks after the shard rebuilds it", || async { app.count(LIVE).await > epoch })
            .await;
        assert_eq!(client.charge(&user, 1, &key()).await.expect(201).body["balance"], 11);
        onrush::servers::signal(sleeper.pid(), "CONT");
        eventually("it ends", || std::future::ready(sleeper.has_ended())).await;
        assert_eq!(client.charge(&user, 1, &key()).await.expect(201).body["balance"], 12);
    })
    .await;
}
