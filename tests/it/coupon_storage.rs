//! How the table of coupons grows: what a look-up touches, what a row weighs. `COUPON_ROWS` asks for more.

use std::time::Instant;

use sqlx::{PgPool, Row};

use crate::harness::with_app;

/// Rows that the short form ends with; it begins with a tenth.
const ROWS: i64 = 1_000_000;
/// Look-ups that are timed.
const LOOKUPS: usize = 2_000;

/// Codes as random as ours, without the cipher: what matters here is how they are spread.
const FILL: &str = "
    insert into coupons (code, ordinal, number, status, user_id, expires_at, assigned_at)
    select upper(substr(md5(n::text), 1, 17)), 1 + n % 3, n, n % 2,
        case n % 2 when 1 then md5('u' || n % 100000)::uuid end,
        '2030-01-01'::timestamptz + (n % 365) * interval '1 day',
        case n % 2 when 1 then '2029-01-01'::timestamptz + n * interval '1 second' end
    from generate_series($1::bigint, $2::bigint) n order by 1 on conflict do nothing";

struct Measured {
    rows: i64,
    heap: f64,
    index: f64,
    /// Pages of 8 KiB that one look-up touches.
    pages: i64,
    lookup_us: f64,
    day_pages: i64,
    day_ms: f64,
}

/// Pages that a statement touches.
async fn pages(pool: &PgPool, statement: &str) -> (i64, String) {
    let explain = format!("explain (analyze, buffers, format json, timing off) {statement}");
    let row = sqlx::query(sqlx::AssertSqlSafe(explain)).fetch_one(pool).await.unwrap();
    let plan: serde_json::Value = row.get(0);
    let top = &plan[0]["Plan"];
    let touched = ["Shared Hit Blocks", "Shared Read Blocks"].map(|name| top[name].as_i64().unwrap());
    (touched.iter().sum(), plan.to_string())
}

async fn measure(pool: &PgPool) -> Measured {
    sqlx::query("vacuum analyze coupons").execute(pool).await.unwrap();
    let size = "select count(*), (select sum(pg_relation_size(p.oid))::bigint from pg_class p
             where p.relname ~ '^coupons_[0-9]+$' and p.relnamespace = current_schema()::regnamespace),
         (select sum(pg_indexes_size(p.oid))::bigint from pg_class p
             where p.relname ~ '^coupons_[0-9]+$' and p.relnamespace = current_schema()::regnamespace)
         from coupons";
    let row = sqlx::query(size).fetch_one(pool).await.unwrap();
    let (rows, heap, index): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    let codes = "select code from coupons order by md5(number::text || 'x') limit $1";
    let codes: Vec<String> = sqlx::query_scalar(codes).bind(LOOKUPS as i64).fetch_all(pool).await.unwrap();
    let (pages_of_one, plan) =
        pages(pool, &format!("select status from coupons where code = '{}'", codes[0])).await;
    assert!(!plan.contains("Seq Scan"), "{plan}");
    let mut times = Vec::new();
    for code in &codes {
        let asked = Instant::now();
        sqlx::query("select status from coupons where code = $1").bind(code).fetch_one(pool).await.unwrap();
        times.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    let day = "select code from coupons where status = 1 and expires_at >= '2030-03-01'
                   and expires_at < '2030-03-02' and (expires_at, code) > ('2030-03-01', '')
               order by expires_at, code limit 501";
    let asked = Instant::now();
    let (day_pages, plan) = pages(pool, day).await;
    let day_ms = asked.elapsed().as_secs_f64() * 1e3;
    assert!(!plan.contains("Seq Scan"), "{plan}");
    Measured {
        rows,
        heap: heap as f64 / rows as f64,
        index: index as f64 / rows as f64,
        pages: pages_of_one,
        lookup_us: times[times.len() / 2],
        day_pages,
        day_ms,
    }
}

/// A look-up by code touches at most twice as many pages in ten times as many rows; a day's list does not
/// read all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_the_coupons_cost_a_look_up_less_than_twice() {
    let rows = std::env::var("COUPON_ROWS").map_or(ROWS, |rows| rows.parse().unwrap());
    with_app(async |app| {
        let pool = PgPool::connect(&app.config.database_url).await.unwrap();
        let mut measured = Vec::new();
        let mut have = 0;
        for want in [rows / 10, rows] {
            while have < want {
                let next = want.min(have + 250_000);
                sqlx::query(FILL).bind(have + 1).bind(next).execute(&pool).await.unwrap();
                have = next;
            }
            measured.push(measure(&pool).await);
        }
        println!("rows        heap B/row  index B/row  pages a look-up  p50 µs  pages a day's page  ms");
        for m in &measured {
            println!(
                "{:<11} {:<11.1} {:<12.1} {:<16} {:<7.0} {:<19} {:.1}",
                m.rows, m.heap, m.index, m.pages, m.lookup_us, m.day_pages, m.day_ms
            );
        }
        let [few, many] = &measured[..] else { panic!() };
        assert!(many.pages <= 2 * few.pages, "{} pages beside {}", many.pages, few.pages);
        // A page of 501 rows of a day: some pages a partition, and those rows.
        assert!(many.day_pages < 501 + 32 * 8, "{} pages", many.day_pages);
        pool.close().await;
        app.sql("truncate coupons").await;
    })
    .await;
}
