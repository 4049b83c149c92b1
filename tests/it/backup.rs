//! Postgres restored from an older backup, and the operator's two ways out.

use serde_json::json;
use sqlx::{Connection, Executor, PgConnection, Row};

use crate::harness::receiver::Receiver;
use crate::harness::{
    Build, Program, TestApp, User, database_url_of, eventually, key, onrush, program_settings,
};

/// What clients know from before the backup and after it.
struct Story {
    app: TestApp,
    users: Vec<User>,
    /// A concert of before, and one that the backup does not know.
    concerts: [String; 2],
    /// Keys of a charge and of a payment after the backup, and what the payment was for.
    charge: String,
    payment: String,
    reservation: String,
    /// Who paid, and one who holds seats of before.
    ticket: String,
    kept: String,
    waiting: String,
    /// An order after the backup.
    order: String,
    /// Is told of what is held and paid.
    receiver: Receiver,
}

/// All tables of the test's schema go into another, or come back from it.
async fn copy(app: &TestApp, back: bool) {
    let backup = format!("{}_backup", app.schema);
    let mut pg = PgConnection::connect(&database_url_of(&app.schema)).await.unwrap();
    let rows = sqlx::query(
        "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition
             and c.relname <> '_sqlx_migrations'",
    );
    let rows = rows.bind(&app.schema).fetch_all(&mut pg).await.unwrap();
    if !back {
        pg.execute(sqlx::AssertSqlSafe(format!("create schema {backup}"))).await.unwrap();
    }
    for table in rows.iter().map(|row| row.get::<String, _>(0)) {
        let statement = if back {
            format!(
                "set session_replication_role = replica; delete from {table};
                 insert into {table} overriding system value select * from {backup}.{table}"
            )
        } else {
            format!("create table {backup}.{table} as table {table}")
        };
        pg.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    }
}

/// A backup of now; what comes after it is of later epochs.
pub async fn take(app: &TestApp) {
    app.settled().await;
    copy(app, false).await;
    let (success, told) = onrush(app, &["rebuild"]);
    assert!(success, "{told}");
    app.ready().await;
}

/// The backup comes back, the shards are fenced, and an operator believes Redis.
pub async fn put_back_and_believe_redis(app: TestApp) -> TestApp {
    app.settled().await;
    let app = app.stop_instances().await;
    copy(&app, true).await;
    let app = app.start_unready().await;
    eventually("the shards are fenced", || async {
        app.count("select count(*) from journal_cursor where state = 'fenced'").await > 0
    })
    .await;
    let (success, told) = onrush(&app, &["rebuild", "--accept-redis"]);
    assert!(success, "{told}");
    app.ready().await;
    app
}

/// Life, a backup, more life in a later epoch; then the backup comes back and the shards are fenced.
async fn restored() -> Story {
    let story = put_back().await;
    let app = story.app.start_unready().await;
    eventually("the shards are fenced", || async {
        app.count("select count(*) from journal_cursor where state = 'fenced'").await == 4
    })
    .await;
    app.client().get("/readyz").await.expect(503);
    Story { app, ..story }
}

/// The same, where no instance has looked yet.
async fn put_back() -> Story {
    let receiver = Receiver::start(&["reservation.held", "payment.confirmed"], json!({})).await;
    let app = TestApp::start(Build { delivery: receiver.file(), ..Build::default() }).await;
    let (client, operator, users) = (app.client(), app.operator().await, app.users(4, 1_000).await);
    let concert = client.concert(&operator, 50, 100, json!({"maxSeatsPerUser": 4})).await;
    let ticket = client.enter(&users[0], &concert).await;
    let before = client.reserve(&users[0], &ticket, &concert, &[1]).await.text_of("reservationId");
    client.pay(&users[0], &ticket, &before, &key()).await.expect(201);
    let kept = client.enter(&users[1], &concert).await;
    client.reserve(&users[1], &kept, &concert, &[2, 3]).await.expect(201);
    let water = client.menu(&operator, "Water", 0).await;
    let body = json!({"items": [{"menuId": water, "quantity": 5}]});
    client.post_as(&users[0], "/v1/orders", body.clone()).await.expect(201);
    let others = app.users(40, 0).await;
    // After a rebuild newcomers would rest.
    let ticket = client.enter(&users[3], &concert).await;
    app.settled().await;
    copy(&app, false).await;

    let mut rebuild = Program::command(&["rebuild"]);
    assert!(program_settings(&mut rebuild, &app).output().unwrap().status.success());
    app.ready().await;
    let [charge, payment] = [key(), key()];
    client.charge(&users[2], 77, &charge).await.expect(201);
    let held = client.reserve(&users[3], &ticket, &concert, &[4, 5]).await;
    let reservation = held.text_of("reservationId");
    client.pay(&users[3], &ticket, &reservation, &payment).await.expect(201);
    let order = client.post_as(&users[2], "/v1/orders", body.clone()).await.text_of("orderId");
    client.post_as(&users[0], "/v1/orders", body).await.expect(201);
    forget_last_order(&app, &others).await;
    let other = client.concert(&operator, 10, 100, json!({})).await;
    let token = client.enter(&users[2], &other).await;
    client.reserve(&users[2], &token, &other, &[7]).await.expect(201);
    let closed = client.queue(&operator, json!({"maxActive": 1})).await;
    client.enter(&users[0], &closed).await;
    let waiting = client.join(&users[1], &closed).await.text_of("token");
    app.settled().await;
    let app = app.stop_instances().await;
    copy(&app, true).await;
    let concerts = [concert, other];
    let waiting = format!("{closed} {waiting}");
    Story { app, users, concerts, charge, payment, reservation, ticket, kept, waiting, order, receiver }
}

/// Redis forgets what the last order came to, as it does a quarter of an hour after others have written.
async fn forget_last_order(app: &TestApp, others: &[User]) {
    let row = "select shard, epoch, seq, op::text from journal_entries where facts like '%order.placed%'
               order by at desc limit 1";
    let (shard, epoch, seq, op): (i32, i64, i64, String) =
        sqlx::query_as(row).fetch_one(&app.inside(0).pool).await.unwrap();
    let shards = &app.inside(0).journal.shards;
    let is_near = |user: &&User| i32::from(shards.of(user.id.parse().unwrap()).0) == shard;
    app.client().charge(others.iter().find(is_near).unwrap(), 1, &key()).await.expect(201);
    app.settled().await;
    let journal = app.journal_key(shard as u16);
    assert_eq!(app.redis_int(&["XDEL", &journal, &format!("{epoch}-{seq}")]).await, 1);
    let ops = journal.replace(":journal", ":ops");
    assert_eq!(app.redis_int(&["HDEL", &ops, &format!("{op}.1")]).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_who_believes_redis_loses_nothing_that_redis_knows() {
    let story = restored().await;
    let (app, users) = (story.app, story.users);
    // One payment stood half-way: its points are set aside, nothing was decided.
    let inside = app.inside(0);
    let shard = inside.journal.shards.of(users[1].id.parse().unwrap());
    let wallet = |part: &str| format!("{}:{{{shard}}}:2:wallet:{part}", app.config.prefix);
    let (op, half) = (key(), [key(), key(), story.concerts[0].clone()].join("|"));
    app.redis(&["HINCRBY", &wallet("balances"), &users[1].id, "-200"]).await;
    app.redis(&["HSET", &wallet("transfers"), &op, &format!("{}|200|800|{half}", users[1].id)]).await;
    let (success, told) = onrush(&app, &["rebuild", "--accept-redis"]);
    assert!(success, "{told}");
    app.ready().await;
    let client = app.client();
    let balance = async |user: &User| client.balance(user).await;
    assert_eq!(
        (balance(&users[0]).await, balance(&users[2]).await, balance(&users[3]).await),
        (900, 1_077, 800)
    );
    eventually("nobody drives the half payment, so its points are back", || async {
        balance(&users[1]).await == 1_000
    })
    .await;
    // The sale is known, and so are the keys of what was done lately.
    let again = client.pay(&users[3], &story.ticket, &story.reservation, &story.payment).await.expect(201);
    assert_eq!(again.header("idempotency-replayed"), "true");
    let again = client.charge(&users[2], 77, &story.charge).await.expect(201);
    assert_eq!((again.header("idempotency-replayed"), &again.body["balance"]), ("true", &json!(1_077)));
    let sold = client.get_as(&users[3], &format!("/v1/reservations/{}", story.reservation)).await.expect(200);
    assert_eq!(sold.body["status"], "CONFIRMED");
    // Orders are counted as Redis did, also the one that nobody can list any more.
    client.get_as(&users[2], &format!("/v1/orders/{}", story.order)).await.expect(200);
    assert_eq!(app.count("select count(*) from orders").await, 2);
    let counts = "select sum(orders)::bigint * 10 + sum(unlisted_orders)::bigint from popular_hours";
    assert_eq!(app.count(counts).await, 31);
    // Who is told, is told again: what happened, in its order, by the names that it had.
    let told = || story.receiver.arrivals().into_iter().filter(|one| one.aggregate == story.reservation);
    let both = ["reservation.held", "payment.confirmed"];
    eventually("it is told again", || async { told().count() == 4 }).await;
    assert_eq!(told().map(|one| one.kind).collect::<Vec<_>>(), [both, both].concat());
    let ids: Vec<String> = told().map(|one| one.id).collect();
    assert_eq!(ids[..2], ids[2..]);
    // Seats of before and after stay where they are, and so does a place.
    for seat in [1, 2, 4] {
        client.reserve(&users[1], &story.kept, &story.concerts[0], &[seat]).await.refused(409, "seat_taken");
    }
    client.get(&format!("/v1/queues/{}", story.concerts[1])).await.expect(200);
    let (queue, ticket) = story.waiting.split_once(' ').unwrap();
    assert_eq!(client.poll(queue, ticket).await.expect(200).body["number"], 2);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_does_not_know_any_more_changes_nothing() {
    let story = restored().await;
    let app = story.app;
    // As if the sale lay more than a day back.
    for shard in 0..4 {
        let decided = app.journal_key(shard).replace(":1:", ":2:").replace(":journal", ":payments:decided");
        app.redis(&["DEL", &decided]).await;
    }
    let rows = "select count(*) from ledger";
    let before = app.count(rows).await;
    let (success, told) = onrush(&app, &["rebuild", "--accept-redis"]);
    assert!(!success && told.contains("nothing was changed"), "{told}");
    assert!(told.contains("s:") && told.contains("Postgres says nothing"), "{told}");
    assert_eq!(app.count(rows).await, before);
    let fenced = "select count(*) from journal_cursor where state = 'fenced'";
    assert_eq!(app.count(fenced).await, 4);
    // Then the backup is what is left.
    let (success, told) = onrush(&app, &["rebuild", "--accept-postgres"]);
    assert!(success, "{told}");
    app.ready().await;
    let (client, user) = (app.client(), &story.users[1]);
    client.reserve(user, &story.kept, &story.concerts[0], &[1]).await.refused(409, "seat_taken");
    client.reserve(user, &story.kept, &story.concerts[0], &[4]).await.expect(201);
    app.finish().await;
}

/// What is still in the journal comes back by itself, in whatever order the shards are filled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_went_back_a_little_is_filled_again() {
    let app = TestApp::start(Build::default()).await;
    let (client, operator, users) = (app.client(), app.operator().await, app.users(20, 1_000).await);
    app.settled().await;
    copy(&app, false).await;
    let concert = client.concert(&operator, 50, 100, json!({"maxSeatsPerUser": 4})).await;
    let campaign = client.campaign(&operator, 3, json!({})).await;
    let coupon = client.claim(&users[0], &campaign).await.expect(201).text_of("code");
    for (user, seat) in users.iter().zip(1..) {
        let ticket = client.enter(user, &concert).await;
        let held = client.reserve(user, &ticket, &concert, &[seat]).await.text_of("reservationId");
        if seat % 2 == 0 {
            client.pay(user, &ticket, &held, &key()).await.expect(201);
        }
        client.charge(user, 5, &key()).await.expect(201);
    }
    app.settled().await;
    let app = app.stop_instances().await;
    copy(&app, true).await;
    let app = app.start_instances().await;
    let back = "select (select count(*) from payments) + (select count(*) from ledger where amount = 5)
                    + (select count(*) from transfers where state = 'POSTED')";
    eventually("all is back", || async { app.count(back).await == 10 + 20 + 10 }).await;
    // What stands for the campaign in its codes is not the journal's, and there again all the same.
    let client = app.client();
    client.get_as(&users[0], &format!("/v1/coupons/{coupon}")).await.expect(200);
    let next = client.campaign(&operator, 1, json!({})).await;
    client.claim(&users[1], &next).await.expect(201);
    let epochs = "select count(*) from journal_cursor where epoch = 1 and state = 'live'";
    assert_eq!(app.count(epochs).await, 4, "nothing was rebuilt for it");
    app.finish().await;
}

/// The command looks by itself: it may come before any instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_by_hand_overwrites_nothing_before_anybody_has_looked() {
    let story = put_back().await;
    let mut plain = Program::command(&["rebuild"]);
    let told = program_settings(&mut plain, &story.app).output().unwrap();
    let lines = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(!told.status.success() && lines.matches("older backup").count() == 4, "{lines}");
    let (success, told) = onrush(&story.app, &["rebuild", "--accept-redis"]);
    assert!(success, "{told}");
    let app = story.app.start_instances().await;
    assert_eq!(app.client().balance(&story.users[2]).await, 1_077);
    app.finish().await;
}

/// Entries that only the journal has are carried over first; nobody else does it while no instance runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_by_hand_waits_for_what_the_journal_still_holds() {
    let app = TestApp::start(Build::default()).await;
    let (client, user) = (app.client(), app.user(1_000).await);
    app.settled().await;
    copy(&app, false).await;
    client.charge(&user, 5, &key()).await.expect(201);
    app.settled().await;
    let app = app.stop_instances().await;
    copy(&app, true).await;
    let mut plain = Program::command(&["rebuild"]);
    let told = program_settings(&mut plain, &app).output().unwrap();
    let lines = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(!told.status.success() && lines.contains("start an instance"), "{lines}");
    let app = app.start_instances().await;
    eventually("it is filled again", || async { app.client().balance(&user).await == 1_005 }).await;
    app.finish().await;
}

/// Redis was being loaded when Postgres went away and came back older: what it has is a part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_never_loaded_to_its_end_is_not_accepted() {
    let story = put_back().await;
    let app = story.app;
    for shard in 0..4 {
        app.redis(&["HDEL", &app.meta_key(shard), "head"]).await;
        app.redis(&["HSET", &app.meta_key(shard), "state", "loading", "chunk", "1"]).await;
    }
    let (success, told) = onrush(&app, &["rebuild", "--accept-redis"]);
    assert!(!success && told.contains("never loaded to its end"), "{told}");
    let (success, told) = onrush(&app, &["rebuild", "--accept-postgres"]);
    assert!(success, "{told}");
    app.start_instances().await.finish().await;
}
